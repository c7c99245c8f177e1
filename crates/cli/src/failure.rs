//! Why a command did not do what it was asked to, and what to do about it.

use std::fmt::Display;
use std::process::ExitCode;

use crate::output;

/// A command could not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    advice: Option<String>,
    code: u8,
}

/// What commands give.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// What was asked for did not happen.
const FAILED: u8 = 1;
/// What was asked for makes no sense; also clap's code.
const MISUSED: u8 = 2;

impl Failure {
    /// What was asked for did not happen.
    pub(crate) fn new(message: impl Display) -> Failure {
        Failure { message: message.to_string(), advice: None, code: FAILED }
    }

    /// The arguments make no sense.
    pub(crate) fn misuse(message: impl Display) -> Failure {
        Failure { message: message.to_string(), advice: None, code: MISUSED }
    }

    /// Nobody reads the output any more; that is the end, and no failure.
    pub(crate) fn unread() -> Failure {
        Failure { message: String::new(), advice: None, code: 0 }
    }

    /// What was asked for has been printed, and is that something is wrong.
    pub(crate) fn told() -> Failure {
        Failure { message: String::new(), advice: None, code: FAILED }
    }

    /// Says what the failure is about.
    pub(crate) fn about(mut self, what: impl Display) -> Failure {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Says what to do about it.
    pub(crate) fn advice(mut self, advice: impl Display) -> Failure {
        self.advice = Some(advice.to_string());
        self
    }

    /// Whether a refusal is among what happened, by the name of its code.
    pub(crate) fn is_about(&self, code: &str) -> bool {
        self.message.contains(&format!("({code})"))
    }

    /// The same with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Tells the user.
    pub(crate) fn tell(&self) {
        if !self.message.is_empty() {
            output::complain(&self.message, self.advice.as_deref());
        }
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn end(self) -> ExitCode {
        self.tell();
        ExitCode::from(self.code)
    }
}
