//! Colours, for terminals only, and the width of a screen.

use std::env;
use std::io::{self, IsTerminal};

/// Whether and how what is printed is coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// For standard output: coloured if that is a terminal and `NO_COLOR` is not set.
    pub(crate) fn of_stdout() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colours: io::stdout().is_terminal() && !refused,
        }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Text from files and requests as a terminal may show it: control characters, which could move the cursor or hide
/// what was printed before, are escaped.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// `first, second, third` as far as it fits in `width` characters, else with `… (n in all)` at the end.
pub(super) fn listed(values: &[String], width: usize) -> String {
    let all = values.iter().map(|value| plain(value)).collect::<Vec<_>>();
    let whole = all.join(", ");
    if whole.chars().count() <= width {
        return whole;
    }
    let end = format!("… ({} in all)", all.len());
    let mut shown = String::new();
    for value in &all {
        let length = shown.chars().count() + value.chars().count() + 2 + end.chars().count();
        if !shown.is_empty() && length > width {
            break;
        }
        shown.push_str(value);
        shown.push_str(", ");
    }
    if all.len() == 1 {
        return whole;
    }
    shown + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_not_sent_to_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }

    #[test]
    fn lists_end_where_the_screen_does() {
        let values: Vec<String> = ["/get", "/headers", "/status/*"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(listed(&values, 40), "/get, /headers, /status/*");
        assert_eq!(listed(&values, 24), "/get, … (3 in all)");
        assert_eq!(listed(&["x".repeat(90)], 20), "x".repeat(90));
    }
}
