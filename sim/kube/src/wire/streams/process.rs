//! What runs in a container for a stream: a command, or the container itself, looked at.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    ContainerLogs,
    kubelet::{EXEC_PIECES_MAX, ExecIo, Output, Ran, Running},
};

/// A process, and what it writes.
pub(super) struct Process {
    pub run: BoxFuture<'static, Ran>,
    pub pieces: mpsc::Receiver<Output>,
    pub command: Vec<String>,
}

/// A command in a container that runs.
pub(super) fn exec(running: &Running, command: Vec<String>, stdin: Option<mpsc::Receiver<Bytes>>) -> Process {
    let (output, pieces) = mpsc::channel(EXEC_PIECES_MAX);
    Process { run: running.exec(command.clone(), ExecIo { stdin, output }), pieces, command }
}

/// What a container writes from now on, until it ends. What is typed is read by nobody.
pub(super) fn attach(running: &Running, logs: ContainerLogs) -> Process {
    let (output, pieces) = mpsc::channel(EXEC_PIECES_MAX);
    let running = running.clone();
    Process { run: Box::pin(async move { follow(&running, &logs, &output).await }), pieces, command: Vec::new() }
}

async fn follow(running: &Running, logs: &ContainerLogs, output: &mpsc::Sender<Output>) -> Ran {
    let container = running.container();
    let read = |from| logs.read_from(&container.namespace, &container.pod, &container.container, false, from);
    let mut wake = logs.watch();
    let seen = read(0).unwrap_or_default();
    let (instance, mut next) = (seen.instance, seen.lines.last().map_or(0, |line| line.number + 1));
    loop {
        let log = read(next).filter(|log| log.instance == instance);
        let (lines, goes_on) = log.map_or_else(Default::default, |log| (log.lines, log.running));
        for line in lines {
            next = line.number + 1;
            if output.send(Output::Stdout(format!("{}\n", line.text).into())).await.is_err() {
                return Ran::Ended(0);
            }
        }
        if !goes_on || wake.changed().await.is_err() {
            return Ran::Ended(0);
        }
    }
}

/// The `Status` that ends a stream.
pub(super) fn ended(command: &[String], ran: &Ran) -> Value {
    let failure = |reason: &str, message: String, causes: Value| json!({"metadata": {}, "status": "Failure", "message": message, "reason": reason, "details": {"causes": causes}});
    match ran {
        Ran::Ended(0) => json!({"metadata": {}, "status": "Success"}),
        Ran::Ended(code) => {
            let message = format!(
                "command terminated with non-zero exit code: error executing command {command:?}, exit code {code}"
            );
            failure("NonZeroExitCode", message, json!([{"reason": "ExitCode", "message": code.to_string()}]))
        }
        Ran::NotFound => {
            let program = command.first().map_or("", String::as_str);
            let why = format!(
                "error executing command in container: failed to exec in container: failed to start exec: OCI runtime exec \
                 failed: exec failed: unable to start container process: exec: {program:?}: executable file not found in $PATH"
            );
            let mut status =
                failure("InternalError", format!("Internal error occurred: {why}"), json!([{"message": why}]));
            status["code"] = 500.into();
            status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_with_the_status_that_clients_read_the_exit_code_of() {
        assert_eq!(ended(&[], &Ran::Ended(0)), json!({"metadata": {}, "status": "Success"}));
        let failed = ended(&["false".to_owned()], &Ran::Ended(1));
        assert_eq!(failed["details"]["causes"], json!([{"reason": "ExitCode", "message": "1"}]));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(ended(&["x".to_owned()], &Ran::NotFound)["code"], 500);
    }
}
