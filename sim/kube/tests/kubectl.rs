//! kubectl against a cluster on loopback: every file of `fixtures/kubectl/` is a transcript, run on a cluster of its own.
//! How they are written and accepted: `transcripts/mod.rs`.

mod transcripts;

use std::{fs, path::Path};

use libtest_mimic::{Arguments, Trial};
use sim_kube::{
    access::{AccessOptions, Authorization},
    local, manifests,
};
use transcripts::{Shell, Transcript};

fn main() {
    let arguments = Arguments::from_args();
    let kubectl = transcripts::kubectl();
    let trials = transcripts::transcripts("fixtures/kubectl").into_iter().map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let kubectl = kubectl.clone();
        let ignored = kubectl.is_none();
        Trial::test(name.clone(), move || match kubectl {
            Some(kubectl) => play(&kubectl, &path, &name).map_err(Into::into),
            None => Ok(()),
        })
        .with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn play(kubectl: &Path, path: &Path, name: &str) -> Result<(), String> {
    let transcript = Transcript::read(path);
    let root = transcripts::root();
    let mut options = local::Options::default();
    if let Some(speed) = transcript.setting("speed") {
        options.speed = speed.parse()?;
    }
    if transcript.setting("access") == Some("rbac") {
        options.kube.access = Some(AccessOptions { authorization: Authorization::Rbac, ..AccessOptions::default() });
    }
    for folder in transcript.setting("manifests").unwrap_or_default().split_whitespace() {
        let mut files: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            options.manifests.extend(manifests::parse(&text).map_err(|error| error.to_string())?);
        }
    }
    let cluster = local::start(options).map_err(|error| error.to_string())?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl").join(name);
    let server = cluster.address().to_string();
    let shell = Shell::new(kubectl, &folder, &root, &server, &cluster.kubeconfig());
    let compared = transcript.run(&shell, transcripts::update());
    cluster.stop().map_err(|error| error.to_string())?;
    compared
}
