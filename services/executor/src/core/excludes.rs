//! Which files borg's patterns of excludes leave out (`borg help patterns`), for counting what a backup would read.

/// Patterns, as far as they are understood here.
#[derive(Debug, Default)]
pub struct Excludes {
    patterns: Vec<Pattern>,
    /// Those that are not: their files are counted.
    pub unknown: Vec<String>,
}

#[derive(Debug)]
enum Pattern {
    /// This very path.
    Full(Vec<u8>),
    /// This path, and all below it; with a slash at its end.
    Prefix(Vec<u8>),
    /// Whatever looks so, with a slash at its end.
    Glob(Vec<Token>),
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// Any one; but for `sh:`, no slash.
    One {
        slash: bool,
    },
    /// Any number of them.
    Many {
        slash: bool,
    },
    /// One of these ranges, or none of them.
    Set {
        ranges: Vec<(u8, u8)>,
        not: bool,
    },
    /// `**/`: any number of whole folders.
    Folders,
}

impl Excludes {
    /// Reads them.
    pub fn read(patterns: &[String]) -> Self {
        let mut read = Self::default();
        for pattern in patterns {
            let found = match pattern.split_once(':') {
                Some(("pf", path)) => Pattern::Full(path.trim_start_matches('/').as_bytes().to_vec()),
                Some(("pp", path)) => Pattern::Prefix(format!("{}/", path.trim_matches('/')).into_bytes()),
                Some(("sh", glob)) => Pattern::Glob(tokens(glob, false)),
                Some(("fm", glob)) => Pattern::Glob(tokens(glob, true)),
                Some(("re", _)) => {
                    read.unknown.push(pattern.clone());
                    continue;
                }
                _ => Pattern::Glob(tokens(pattern, true)),
            };
            read.patterns.push(found);
        }
        read
    }

    /// Whether a file or folder is left out, by its absolute path.
    pub fn leave_out(&self, path: &[u8]) -> bool {
        let from = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
        let mut path = path.get(from..).unwrap_or_default().to_vec();
        let bare = path.clone();
        path.push(b'/');
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Full(full) => bare == *full,
            Pattern::Prefix(prefix) => path.starts_with(prefix),
            Pattern::Glob(tokens) => matches(tokens, &path),
        })
    }
}

/// A pattern matches what it names and all that is below it; with a slash at its end only the latter
/// (`FnmatchPattern` and `ShellPattern` of borg 1.2).
fn tokens(pattern: &str, slash: bool) -> Vec<Token> {
    let named = pattern.trim_start_matches('/');
    let mut tokens = Vec::new();
    let mut rest = named.trim_end_matches('/').as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'*' if !slash && rest.starts_with(b"*/") => {
                tokens.push(Token::Folders);
                rest = rest.get(2..).unwrap_or_default();
            }
            b'*' => tokens.push(Token::Many { slash }),
            b'?' => tokens.push(Token::One { slash }),
            b'[' => match set(rest) {
                Some((found, after)) => {
                    tokens.push(found);
                    rest = after;
                }
                None => tokens.push(Token::Byte(b'[')),
            },
            byte => tokens.push(Token::Byte(*byte)),
        }
    }
    tokens.push(Token::Byte(b'/'));
    if named.ends_with('/') {
        tokens.push(Token::One { slash: true });
    }
    tokens.push(Token::Many { slash: true });
    tokens
}

/// `[a-z]` or `[!a-z]`, behind its first bracket.
fn set(rest: &[u8]) -> Option<(Token, &[u8])> {
    let (not, inner) = rest.strip_prefix(b"!").map_or((false, rest), |inner| (true, inner));
    // A bracket that comes first is one of those that are meant.
    let end = inner.iter().skip(1).position(|byte| *byte == b']')? + 1;
    let (mut inside, after) = (inner.get(..end)?, inner.get(end + 1..)?);
    let mut ranges = Vec::new();
    while let Some((low, more)) = inside.split_first() {
        match more {
            [b'-', high, more @ ..] => {
                ranges.push((*low, *high));
                inside = more;
            }
            _ => {
                ranges.push((*low, *low));
                inside = more;
            }
        }
    }
    Some((Token::Set { ranges, not }, after))
}

/// Follows all ways through the pattern at once: its time is that of the path times that of the pattern, whatever these are.
fn matches(tokens: &[Token], text: &[u8]) -> bool {
    let mut at = vec![false; tokens.len() + 1];
    let enter = |at: &mut Vec<bool>, mut n: usize| loop {
        if let Some(place) = at.get_mut(n) {
            *place = true;
        }
        match tokens.get(n) {
            Some(Token::Many { .. } | Token::Folders) => n += 1,
            _ => break,
        }
    };
    enter(&mut at, 0);
    // Behind `**/` the next name begins only after a slash.
    let mut inside_folders = vec![false; tokens.len()];
    for byte in text {
        let mut next = vec![false; tokens.len() + 1];
        let mut next_inside = vec![false; tokens.len()];
        for (n, token) in tokens.iter().enumerate() {
            let here = at.get(n).copied().unwrap_or_default();
            let inside = inside_folders.get(n).copied().unwrap_or_default();
            match token {
                Token::Byte(wanted) if here && wanted == byte => enter(&mut next, n + 1),
                Token::One { slash } if here && (*slash || *byte != b'/') => enter(&mut next, n + 1),
                Token::Many { slash } if here && (*slash || *byte != b'/') => enter(&mut next, n),
                Token::Set { ranges, not } if here => {
                    let is_in = ranges.iter().any(|(low, high)| (low..=high).contains(&byte));
                    if is_in != *not {
                        enter(&mut next, n + 1);
                    }
                }
                Token::Folders if here || inside => {
                    if *byte == b'/' {
                        enter(&mut next, n);
                    } else if let Some(place) = next_inside.get_mut(n) {
                        *place = true;
                    }
                }
                _ => {}
            }
        }
        (at, inside_folders) = (next, next_inside);
    }
    at.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What borg 1.2.4 says of them: `borg create --list --exclude <pattern>` on such a tree.
    #[test]
    fn patterns_leave_out_what_borg_leaves_out() {
        for (pattern, out, kept) in [
            (
                "*/node_modules",
                &["/a/node_modules", "/a/b/node_modules/c"][..],
                &["/a/node_modules2", "/node_modules"][..],
            ),
            ("*.log", &["/a/b.log", "/b.log", "/b.log/c"], &["/a/b.logs"]),
            ("/home/*/tmp", &["/home/x/tmp", "/home/x/y/tmp/z"], &["/home/tmp", "/x/home/a/tmp"]),
            ("home/x/", &["/home/x/a"], &["/home/x"]),
            ("a?[b-d][!x]", &["/azcy", "/a/by"], &["/azey", "/azcx"]),
            ("sh:home/*/tmp", &["/home/x/tmp", "/home/x/tmp/y"], &["/home/x/y/tmp"]),
            ("sh:**/*.log", &["/b.log", "/a/b/c.log"], &["/b.logs"]),
            ("sh:home/**/tmp", &["/home/tmp", "/home/a/b/tmp/c"], &["/home/atmp", "/home/a/btmp"]),
            ("pp:/home/x", &["/home/x", "/home/x/y"], &["/home/xy"]),
            ("pf:/home/x", &["/home/x"], &["/home/x/y"]),
            ("[", &["/["], &["/a"]),
        ] {
            let excludes = Excludes::read(&[pattern.to_owned()]);
            for path in out {
                assert!(excludes.leave_out(path.as_bytes()), "{pattern} {path}");
            }
            for path in kept {
                assert!(!excludes.leave_out(path.as_bytes()), "{pattern} {path}");
            }
        }
        assert_eq!(Excludes::read(&["re:x$".to_owned()]).unknown, ["re:x$"]);
    }
}
