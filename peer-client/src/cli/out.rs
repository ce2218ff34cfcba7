//! Where output goes and how it looks.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use super::plain;

/// The program's output: results to standard output, everything else to standard error.
#[derive(Debug, Clone)]
pub(super) struct Out {
    /// For programs.
    pub json: bool,
    color: bool,
}

impl Out {
    pub fn new(json: bool) -> Self {
        let unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        // https://no-color.org
        let color = !json && io::stdout().is_terminal() && unset("NO_COLOR") && !dumb;
        Self { json, color }
    }

    /// A line of the result, for people.
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        Ok(writeln!(out, "{text}").and_then(|()| out.flush())?)
    }

    /// The result, for programs.
    pub fn json(&self, value: &Value) -> anyhow::Result<()> {
        self.line(&value.to_string())
    }

    /// Something worth knowing beside the result; people only.
    pub fn note(&self, text: &str) {
        if !self.json {
            // Nothing helps if this fails.
            drop(writeln!(io::stderr(), "{}", self.dim(text)));
        }
    }

    /// Why it failed.
    pub fn error(&self, error: &anyhow::Error) {
        // The server's words are in some of them.
        let message = plain::one_line(&format!("{error:#}"));
        let text = if self.json {
            json!({ "error": { "message": message } }).to_string()
        } else {
            format!("sotto: {message}")
        };
        drop(writeln!(io::stderr(), "{text}"));
    }

    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    pub fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    pub fn green(&self, text: &str) -> String {
        self.styled("32", text)
    }

    pub fn yellow(&self, text: &str) -> String {
        self.styled("33", text)
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
