use sim_net::Network;
use tokio::sync::mpsc;

use super::*;
use crate::kubelet::{ContainerLogs, EXEC_PIECES_MAX, Files, Stop};

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

/// What a command writes to standard output and error, and how it ends.
fn played(command: &[&str], typed: &str) -> (String, String, Ran) {
    let (command, typed) = (words(command), typed.to_owned());
    let world = sim_clock::run(sim_clock::WorldOptions::seeded(1), move || async move {
        let files = Files::default();
        files.write("/etc/motd", "welcome\n");
        let container = ContainerStart {
            namespace: "default".into(),
            pod: "web-0".into(),
            pod_uid: "u".into(),
            container: "main".into(),
            image: "busybox".into(),
            node: "node-0".into(),
            labels: BTreeMap::new(),
            command: Vec::new(),
            args: Vec::new(),
            env: vec![("GREETING".into(), "good  day".into())],
            files,
            host: Network::new().host("pod"),
            service_account: "default".into(),
            stop: Stop::new().1,
            stdout: ContainerLogs::default().open("default", "web-0", "main"),
        };
        let (input, stdin) = mpsc::channel(1);
        let (output, mut pieces) = mpsc::channel(EXEC_PIECES_MAX);
        drop(input.try_send(typed.into()));
        drop(input);
        let ran = sim_clock::spawn("shell", run(Arc::new(container), command, ExecIo { stdin: Some(stdin), output }));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.recv().await {
            match piece {
                Output::Stdout(data) => out.extend_from_slice(&data),
                Output::Stderr(data) => err.extend_from_slice(&data),
            }
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(err), ran.await.unwrap())
    });
    world.unwrap()
}

fn script(text: &str) -> (String, i32) {
    let (out, err, ran) = played(&["sh", "-c", text], "");
    let Ran::Ended(code) = ran else { panic!("{ran:?}") };
    (out + &err, code)
}

#[test]
fn scripts_that_people_write_in_pods_do_what_they_say() {
    for (text, wanted, code) in [
        ("echo hi", "hi\n", 0),
        ("for i in $(seq 1 3); do echo $i; done", "1\n2\n3\n", 0),
        ("for i in a b\ndo\n  echo -n \"$i \"\ndone", "a b ", 0),
        ("echo \"$GREETING\" $GREETING", "good  day good day\n", 0),
        ("false || echo no && true && echo yes; exit 3; echo never", "no\nyes\n", 3),
        ("X=1; echo ${X}2 '$X' \\$X", "12 $X $X\n", 0),
        ("echo abc | tr a-z A-Z | cat", "ABC\n", 0),
        (
            "echo one > /tmp/f; echo two >> /tmp/f; cat /tmp/f; cat /nowhere",
            "one\ntwo\ncat: can't open '/nowhere': No such file or directory\n",
            1,
        ),
        ("cat /etc/motd && test -f /etc/motd && hostname", "welcome\nweb-0\n", 0),
        ("echo no >&2; echo yes", "yes\nno\n", 0),
        ("frobnicate", "sh: frobnicate: not found\n", 127),
        ("if true; then echo; fi", "sh: if: not known to this shell\n", 2),
        ("echo $?; false; echo $?", "0\n1\n", 0),
        ("sleep 3600 && echo late", "late\n", 0),
    ] {
        assert_eq!(script(text), (wanted.to_owned(), code), "{text}");
    }
}

#[test]
fn programs_read_what_is_typed_and_unknown_ones_are_not_started() {
    assert_eq!(played(&["cat"], "typed").0, "typed");
    assert_eq!(played(&["/bin/echo", "a", "b"], "").0, "a b\n");
    assert_eq!(played(&["frobnicate"], "").2, Ran::NotFound);
    assert!(knows(&words(&["sh", "-c", "sleep 1; echo x"])) && knows(&words(&["sleep", "1"])));
    assert!(!knows(&words(&["sh", "-c", "exec nginx"])) && !knows(&words(&["nginx"])) && !knows(&[]));
}

#[test]
fn no_script_runs_for_ever() {
    let (out, code) = script("for i in $(seq 1 20000); do true; done");
    assert_eq!((out.as_str(), code), ("sh: more than 10000 commands\n", 2));
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[a-c $\\\\(){}|&;<>'\"\n#=é?-]{0,40}") {
        let _ = parse::read(&text);
    }
}
