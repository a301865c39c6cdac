//! Tables for people, JSON for programs.

use crate::args::Output;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// One column of a table: its title, where its value is (a JSON pointer) and how it is written.
pub type Column = (&'static str, &'static str, Format);

/// How a value is written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As it is.
    Plain,
    /// A number of bytes.
    Bytes,
    /// Milliseconds.
    Duration,
    /// A time, to the second.
    Time,
    /// Bytes a second.
    Rate,
}

/// Prints a line; ends the program when nobody reads any more.
pub fn line(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if let Err(e) = writeln!(std::io::stdout(), "{text}") {
        let unread = e.kind() == std::io::ErrorKind::BrokenPipe;
        // What a shell tells of a program that SIGPIPE has ended, which is what happens to others then.
        std::process::exit(if unread { crate::exit::UNREAD } else { 1 });
    }
}

/// Prints a line for whoever reads it. What hosts services goes on when nobody does.
pub fn aside(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a list.
pub fn list(output: Output, items: &[Value], columns: &[Column]) {
    if output == Output::Json {
        return json(&Value::Array(items.to_vec()));
    }
    if items.is_empty() {
        say!("(none)");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|(title, _, _)| title.to_uppercase()));
    for item in items {
        table.add_row(columns.iter().map(|(_, pointer, format)| cell(item, pointer, *format)));
    }
    say!("{table}");
}

/// Prints one thing, field by field; what it does not have is left out.
pub fn one(output: Output, item: &Value, fields: &[Column]) {
    if output == Output::Json {
        return json(item);
    }
    let width = fields.iter().map(|(title, _, _)| title.len()).max().unwrap_or(0);
    for (title, pointer, format) in fields {
        let text = cell(item, pointer, *format);
        if !text.is_empty() {
            say!("{title:<width$}  {text}");
        }
    }
}

/// Prints the API's JSON.
pub fn json(value: &Value) {
    say!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// One value as text.
pub fn cell(item: &Value, pointer: &str, format: Format) -> String {
    // "/a|/b" takes the first that is there.
    let value = pointer.split('|').find_map(|p| item.pointer(p).filter(|v| !v.is_null()));
    let Some(value) = value else { return String::new() };
    match (format, value) {
        (Format::Bytes, Value::Number(n)) => bytes(n.as_u64().unwrap_or(0)),
        (Format::Rate, Value::Number(n)) => format!("{}/s", bytes(n.as_u64().unwrap_or(0))),
        (Format::Duration, Value::Number(n)) => duration(n.as_u64().unwrap_or(0)),
        (Format::Time, Value::String(text)) => time(text),
        (_, Value::String(text)) => printable(text),
        (_, Value::Array(items)) => items
            .iter()
            .map(|v| v.as_str().map_or_else(|| v.to_string(), printable))
            .collect::<Vec<_>>()
            .join(", "),
        (_, other) => other.to_string(),
    }
}

/// A text without what would move a terminal's cursor: names of files come from anywhere.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Bytes, as people say them.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = n as f64;
    let mut unit = UNITS.iter();
    let mut name = unit.next().copied().unwrap_or_default();
    while value >= 999.95
        && let Some(next) = unit.next()
    {
        value /= 1000.0;
        name = next;
    }
    if name == "B" { format!("{n} B") } else { format!("{value:.1} {name}") }
}

/// Milliseconds, as people say them.
pub fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, 0) => format!("{ms} ms"),
        (0, 0, s) => format!("{s}.{} s", ms % 1000 / 100),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => printable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_say_them() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000), "1.0 kB");
        assert_eq!(bytes(999_949), "999.9 kB");
        assert_eq!(bytes(999_950), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        assert_eq!(duration(40), "40 ms");
        assert_eq!(duration(61_000), "1 min 1 s");
        assert_eq!(duration(7_260_000), "2 h 1 min");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let item = serde_json::json!({ "path": "a\u{1b}[2Jb" });
        assert_eq!(cell(&item, "/path", Format::Plain), "a\u{fffd}[2Jb");
        assert_eq!(cell(&item, "/nothing|/path", Format::Plain), "a\u{fffd}[2Jb");
    }
}
