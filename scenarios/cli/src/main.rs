//! `multigres-sim`: runs scenarios of a simulated world and judges their telemetry; or starts a world to try things in.
//!
//! Exit status: 0 everything held, 1 an expectation did not hold, 2 a scenario or the set-up is wrong.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

mod commands;
mod up;

/// A world allocates and frees small things all the time, each world on a thread of its own.
#[global_allocator]
static ALLOCATOR: sim_clock::allocator::MiMalloc = sim_clock::allocator::MiMalloc;

/// Everything held.
const EXIT_PASSED: u8 = 0;
/// An expectation did not hold.
const EXIT_FAILED: u8 = 1;
/// A scenario or the set-up is wrong.
const EXIT_WRONG: u8 = 2;

/// Runs the Multigres operator in a simulated world, under virtual time, and asks its telemetry what scenarios expect.
#[derive(Parser)]
#[command(name = "multigres-sim", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios: a line each, and the story of each failure.
    Run(RunArgs),
    /// List scenarios with their summaries.
    List(Selection),
    /// Check scenario files without running them.
    Check(Selection),
    /// List the faults that a scenario can ask for, with their parameters.
    Faults,
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
    /// Run one scenario and write what Prometheus scraped in it as another tool's input.
    Export(ExportArgs),
    /// Start a world on loopback, for kubectl, a browser or an operator of one's own, until Ctrl-C.
    Up(up::UpArgs),
    /// Judge the PromQL engine by test files in Prometheus's own format.
    #[command(subcommand)]
    Promql(Promql),
    /// Judge alerting and recording rules.
    #[command(subcommand)]
    Rules(Rules),
    /// Judge Alertmanager's configuration.
    #[command(subcommand)]
    Alertmanager(Alertmanager),
}

#[derive(Subcommand)]
enum Alertmanager {
    /// Check configurations: what does not load, and what loads but can never work (a finding's code is in docs/codes.md).
    Check {
        /// Configuration files, or manifests with one in a ConfigMap or Secret.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// The routing tree.
    #[command(subcommand)]
    Routes(AlertmanagerRoutes),
}

#[derive(Subcommand)]
enum AlertmanagerRoutes {
    /// Draw it, as `amtool config routes show` does.
    Show {
        /// The configuration file, or a manifest with one.
        #[arg(long = "config", alias = "config.file", value_name = "FILE")]
        config: PathBuf,
    },
    /// Say who is told of an alert with these labels, as `amtool config routes test` does.
    Test {
        /// The configuration file, or a manifest with one.
        #[arg(long = "config", alias = "config.file", value_name = "FILE")]
        config: PathBuf,
        /// Fail unless these are told, with commas between them.
        #[arg(long = "verify-receivers", alias = "verify.receivers", value_name = "NAMES")]
        verify_receivers: Option<String>,
        /// The alert's labels: name=value
        labels: Vec<String>,
    },
}

#[derive(Subcommand)]
enum Rules {
    /// Check rule files: what does not load, and what loads but can never work (a finding's code is in docs/codes.md).
    Check {
        /// Rule files, or PrometheusRule manifests.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The evaluation interval of groups that name none, in seconds.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        interval_seconds: u64,
    },
    /// Run unit tests of rules, in the format and with the words of `promtool test rules`.
    Test {
        /// Test files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
enum Promql {
    /// Run every *.test file of a folder (or single files); the last line says how many evaluations passed.
    Test {
        /// Folders or files.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Which scenarios.
#[derive(Args)]
struct Selection {
    /// Scenario files or folders; all of the project's scenarios where none is given.
    paths: Vec<PathBuf>,
    /// Only scenarios whose name (folder/file) contains this text.
    #[arg(short = 'k', value_name = "PATTERN")]
    pattern: Option<String>,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Run with this seed in place of the scenarios' own.
    #[arg(long)]
    seed: Option<u64>,
    /// How many worlds run side by side [default: one a core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Write report.json into this folder.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Start no further scenario once one has failed.
    #[arg(long)]
    fail_fast: bool,
    /// Tell the story of passed scenarios too (as for a single file).
    #[arg(long)]
    story: bool,
}

#[derive(Args)]
struct ExportArgs {
    /// The scenario file.
    scenario: PathBuf,
    /// Run with this seed in place of the scenario's own.
    #[arg(long)]
    seed: Option<u64>,
    /// What to write: a promtool unit test (rules.yaml, series.test.yaml) of the alerts that fired and were pending.
    #[arg(long, value_enum, default_value = "promtool")]
    format: Format,
    /// The folder to write into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Copy, Clone, clap::ValueEnum)]
enum Format {
    /// Input for `promtool test rules`.
    Promtool,
}

fn main() -> ExitCode {
    // A wrong command line is a wrong set-up too: clap's own exit status for it is 2.
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::List(selection) => commands::list::list(&selection),
        Command::Check(selection) => commands::list::check(&selection),
        Command::Faults => commands::list::faults(),
        Command::Schema => commands::list::schema(),
        Command::Export(args) => commands::export::export(&args),
        Command::Promql(Promql::Test { paths }) => commands::promql::test(&paths),
        Command::Rules(Rules::Test { files }) => commands::rules::test(&files),
        Command::Rules(Rules::Check { files, interval_seconds }) => commands::rules::check(&files, interval_seconds),
        Command::Alertmanager(Alertmanager::Check { files }) => commands::alertmanager::check(&files),
        Command::Alertmanager(Alertmanager::Routes(AlertmanagerRoutes::Show { config })) => {
            commands::alertmanager::show(&config)
        }
        Command::Alertmanager(Alertmanager::Routes(AlertmanagerRoutes::Test { config, verify_receivers, labels })) => {
            commands::alertmanager::test(&config, &labels, verify_receivers.as_deref())
        }
        Command::Up(args) => up::up(&args),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(wrong) => {
            eprintln!("{}", wrong.to_string().trim_end());
            ExitCode::from(EXIT_WRONG)
        }
    }
}
