//! Why a process of the data plane cannot start or go on.

/// What ends a process with an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataplaneError {
    /// Neither image nor command belongs to the data plane.
    #[error("no program of the data plane: image {image:?}, command {command:?}")]
    UnknownProgram {
        /// The container's image.
        image: String,
        /// Its command and arguments.
        command: Vec<String>,
    },
    /// A flag the program cannot do without.
    #[error("{program}: --{flag} is required")]
    MissingFlag {
        /// The program.
        program: &'static str,
        /// The flag's name.
        flag: &'static str,
    },
    /// A flag whose value cannot be used.
    #[error("{program}: invalid argument {value:?} for --{flag}: {reason}")]
    InvalidFlag {
        /// The program.
        program: &'static str,
        /// The flag's name.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument that is neither a flag nor a flag's value.
    #[error("{program}: unexpected argument {argument:?}")]
    UnexpectedArgument {
        /// The program.
        program: &'static str,
        /// The argument.
        argument: String,
    },
    /// A port that cannot be listened on, or that was taken away with its host.
    #[error("{program}: port {port}: {reason}")]
    Port {
        /// The program.
        program: &'static str,
        /// The port.
        port: u16,
        /// Why not.
        reason: String,
    },
}
