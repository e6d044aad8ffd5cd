//! A simulated part without input or output.

use crate::Timestamp;

/// The pure half of a simulated part: a state that takes one input at a time and says what follows from it.
///
/// An engine does no input or output, takes no lock, reads no clock and no randomness of its own (both come in),
/// keeps its state in ordered containers and bounds every one of them. The wire around it carries out the effects.
///
/// ```
/// use sim_clock::{Engine, Timestamp};
/// struct Counter(u64);
/// impl Engine for Counter {
///     type Input = u64;
///     type Effect = String;
///     fn step(&mut self, _now: Timestamp, input: u64) -> Vec<String> {
///         self.0 += input;
///         vec![format!("total {}", self.0)]
///     }
/// }
/// assert_eq!(Counter(1).step(Timestamp::from_secs(0), 2), ["total 3"]);
/// ```
pub trait Engine {
    /// What can happen to the engine.
    type Input;
    /// What the world must do in consequence.
    type Effect;
    /// Takes one input at the instant `now` and returns its effects in the order in which they are to be carried out.
    fn step(&mut self, now: Timestamp, input: Self::Input) -> Vec<Self::Effect>;
}
