//! Which program a container runs, and the flags it was given.

use std::collections::BTreeMap;

use crate::error::DataplaneError;
use crate::process::Start;

/// The programs of the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// Takes the clients' connections.
    Multigateway,
    /// Stands in front of one Postgres.
    Multipooler,
    /// Watches over the poolers of a shard.
    Multiorch,
    /// Starts and stops Postgres.
    Pgctld,
    /// The API of administration.
    Multiadmin,
    /// The web pages of administration.
    MultiadminWeb,
}

const PROGRAMS: [Program; 6] = [
    Program::Multigateway,
    Program::Multipooler,
    Program::Multiorch,
    Program::Pgctld,
    Program::Multiadmin,
    Program::MultiadminWeb,
];

impl Program {
    /// The program's name, which is its service name in telemetry, too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multigateway => "multigateway",
            Self::Multipooler => "multipooler",
            Self::Multiorch => "multiorch",
            Self::Pgctld => "pgctld",
            Self::Multiadmin => "multiadmin",
            Self::MultiadminWeb => "multiadmin-web",
        }
    }

    /// The program a container runs: by the file name of its command, else by its first argument (the common image's
    /// entry point takes the program's name there), else by the last part of its image's name.
    pub fn of(image: &str, command: &[String], args: &[String]) -> Option<Self> {
        let by_name = |name: &str| PROGRAMS.into_iter().find(|program| program.name() == name);
        let file_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some(first) = command.first() {
            return by_name(&file_name(first)).or_else(|| by_name(command.get(1)?));
        }
        let without_digest = file_name(image.split('@').next().unwrap_or_default());
        let image_name = without_digest.split(':').next().unwrap_or_default();
        args.first().and_then(|first| by_name(&file_name(first))).or_else(|| by_name(image_name))
    }

    /// Words that may stand before the flags.
    fn accepts_word(self, word: &str) -> bool {
        let name = word.rsplit('/').next().unwrap_or_default();
        name == self.name() || (self == Self::Pgctld && word == "server")
    }
}

/// The flags of a process: `--flag=value`, `--flag value`, `--flag` (true); what is not given is looked up in the
/// environment as
/// `MT_FLAG`. Flags this model has no use for are accepted.
#[derive(Debug, Clone)]
pub struct Flags<'a> {
    program: Program,
    given: BTreeMap<String, String>,
    env: &'a BTreeMap<String, String>,
}

impl<'a> Flags<'a> {
    /// Reads the flags of a start.
    pub fn parse(program: Program, start: &'a Start) -> Result<Self, DataplaneError> {
        let mut given = BTreeMap::new();
        let mut words = start.command.iter().skip(1).chain(&start.args).peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                if given.is_empty() && program.accepts_word(word) {
                    continue;
                }
                return Err(DataplaneError::UnexpectedArgument { program: program.name(), argument: word.clone() });
            };
            let (flag, value) = match flag.split_once('=') {
                Some((flag, value)) => (flag, value.to_owned()),
                None => (flag, words.next_if(|next| !next.starts_with('-')).cloned().unwrap_or_else(|| "true".into())),
            };
            given.insert(flag.to_owned(), value);
        }
        Ok(Self { program, given, env: &start.env })
    }

    /// A flag's value.
    pub fn get(&self, flag: &str) -> Option<&str> {
        let variable = || format!("MT_{}", flag.to_ascii_uppercase().replace('-', "_"));
        let value = self.given.get(flag).or_else(|| self.env.get(&variable()))?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// The value of a flag the program cannot do without.
    pub fn require(&self, flag: &'static str) -> Result<&str, DataplaneError> {
        self.get(flag).ok_or(DataplaneError::MissingFlag { program: self.program.name(), flag })
    }

    /// A port.
    pub fn port(&self, flag: &'static str, default: u16) -> Result<u16, DataplaneError> {
        let Some(value) = self.get(flag) else { return Ok(default) };
        value.parse().ok().filter(|&port| port > 0).ok_or_else(|| self.invalid(flag, value, "a port is 1 to 65535"))
    }

    pub(crate) fn invalid(&self, flag: &'static str, value: &str, reason: &str) -> DataplaneError {
        let program = self.program.name();
        DataplaneError::InvalidFlag { program, flag, value: value.to_owned(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_program_is_known_by_command_first_argument_or_image() {
        let of = |image: &str, command: &[&str], args: &[&str]| Program::of(image, &words(command), &words(args));
        assert_eq!(
            of("x/multigres:main", &["/multigres/bin/multiadmin"], &["--http-port=1"]),
            Some(Program::Multiadmin)
        );
        assert_eq!(of("x/multigres:main", &[], &["multigateway", "--cell", "a"]), Some(Program::Multigateway));
        assert_eq!(of("ghcr.io/multigres/multiadmin-web:v1@sha256:0", &[], &[]), Some(Program::MultiadminWeb));
        assert_eq!(of("x/pgctld:main", &["/usr/local/bin/pgctld"], &["server"]), Some(Program::Pgctld));
        assert_eq!(of("quay.io/prometheus/prometheus", &[], &["--config.file=x"]), None);
        assert_eq!(of("x/multiorch", &["/bin/sleep"], &[]), None, "the command is what runs, whatever the image");
    }

    #[test]
    fn flags_come_with_equals_with_a_space_alone_or_by_environment() {
        let start = Start {
            args: words(&["multigateway", "--http-port", "15100", "--cell=zone-a", "--pprof-http", "--grpc-port=1"]),
            env: [("MT_SERVICE_ID".to_owned(), "abc".to_owned())].into(),
            ..Start::default()
        };
        let flags = Flags::parse(Program::Multigateway, &start).unwrap();
        assert_eq!(flags.port("http-port", 1), Ok(15100));
        assert_eq!(flags.get("cell"), Some("zone-a"));
        assert_eq!(flags.get("pprof-http"), Some("true"));
        assert_eq!(flags.get("service-id"), Some("abc"));
        assert_eq!(flags.port("pg-port", 7), Ok(7));
        assert_eq!(
            flags.require("topo-global-root").unwrap_err().to_string(),
            "multigateway: --topo-global-root is required"
        );
    }

    #[test]
    fn a_stray_word_and_a_bad_port_are_refused() {
        let start = Start { args: words(&["--http-port=x", "stray"]), ..Start::default() };
        let error = Flags::parse(Program::Multiorch, &start).unwrap_err();
        assert_eq!(error.to_string(), "multiorch: unexpected argument \"stray\"");
        let start = Start { args: words(&["--http-port=70000"]), ..Start::default() };
        let error = Flags::parse(Program::Multiorch, &start).unwrap().port("http-port", 1).unwrap_err();
        assert!(error.to_string().contains("\"70000\" for --http-port"), "{error}");
    }
}
