//! How the system's `tar` is called for files in a dump store, and what it says.
//!
//! The accident that this file prevents is P2: `tar` goes on when a file cannot be read, and ends with 2 for that as for what
//! is worse. Each of its lines is understood; what is not, fails the backup.

use super::findings::{Findings, VANISHED};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::source::Files;
use strongroom_domain::{Failure, FailureCode};

/// Where the files are in the archive.
pub const PATH: &str = "files.tar";
/// What such a part is.
pub const KIND: &str = "files";

/// `tar --create` of these files, whose names are in a list.
pub fn create(files: &Files, list: &str) -> Vec<String> {
    let mut line: Vec<String> = [
        "--create",
        "--file=-",
        "--format=posix",
        // When a file was read last would change what is stored of it each day, and when it was renamed is not brought back.
        "--pax-option=delete=atime,delete=ctime",
        "--xattrs",
        "--acls",
        "--quoting-style=escape",
        "--directory=/",
        "--anchored",
    ]
    .map(str::to_owned)
    .to_vec();
    if files.one_file_system {
        line.push("--one-file-system".into());
    }
    if files.exclude_caches {
        line.push("--exclude-caches-all".into());
    }
    for pattern in &files.excludes {
        let (how, pattern) = match pattern.split_once(':') {
            Some(("pp" | "pf", path)) => ("--no-wildcards", path),
            Some(("fm", glob)) => ("--wildcards", glob),
            _ => ("--wildcards", pattern.as_str()),
        };
        // As borg has them: against the whole path, without its first slash; a star is any part of it; no escapes.
        let pattern = pattern.trim_start_matches('/').trim_end_matches('/');
        let pattern = if how == "--wildcards" { pattern.replace('\\', "\\\\") } else { pattern.to_owned() };
        line.extend([how.to_owned(), "--wildcards-match-slash".into(), format!("--exclude={pattern}")]);
    }
    line.extend(from_list(list));
    line
}

/// `tar --extract` into the current folder: all of it, or what is in a list.
pub fn extract(list: Option<&str>) -> Vec<String> {
    let mut line = vec!["--extract".to_owned(), "--file=-".into()];
    line.extend(
        [
            "--preserve-permissions",
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--delay-directory-restore",
            "--quoting-style=escape",
            "--anchored",
            "--no-wildcards",
        ]
        .map(str::to_owned),
    );
    line.extend(list.into_iter().flat_map(from_list));
    line
}

/// Names that are names, whatever they look like.
fn from_list(list: &str) -> [String; 3] {
    ["--null".into(), "--verbatim-files-from".into(), format!("--files-from={list}")]
}

/// Such a list.
pub fn list(paths: &[String]) -> Vec<u8> {
    let names = paths.iter().map(|path| match path.trim_start_matches('/') {
        "" => ".",
        name => name,
    });
    names.flat_map(|name| name.bytes().chain([0])).collect()
}

/// What `tar` said while it read files.
#[derive(Debug, Default)]
pub struct Told {
    findings: Findings,
    /// The first line that is not known.
    odd: Option<String>,
}

impl Told {
    /// Takes a line in.
    pub fn take(&mut self, line: &str) {
        // `tar: <name>: <what>: <why>`; a name may hold colons, what is said does not.
        let Some((_, said)) = line.split_once(": ") else {
            self.odd.get_or_insert_with(|| line.to_owned());
            return;
        };
        let known = [": socket ignored", ": file is on a different filesystem; not dumped"];
        let about_itself = ["Exiting with failure status due to previous errors", "Removing leading `"]
            .iter()
            .any(|w| said.starts_with(w));
        if about_itself
            || known.iter().any(|k| said.ends_with(k))
            || said.contains("contains a cache directory tag")
        {
            return;
        }
        let incomplete = |(path, why): (&str, String)| (Severity::Incomplete, path.to_owned(), why);
        let found = if let Some(path) = said.strip_suffix(": File removed before we read it") {
            Some((Severity::Benign, path.to_owned(), VANISHED.to_owned()))
        } else if let Some(path) = said.strip_suffix(": file changed as we read it") {
            Some((Severity::Benign, path.to_owned(), "changed while it was read".to_owned()))
        } else if let Some((path, why)) = said.rsplit_once(": File shrank by ") {
            Some(incomplete((path, format!("shrank by {why}"))))
        } else if let Some((before, errno)) = said.rsplit_once(": ") {
            let cannot = [": Cannot ", ": Read error", ": Warning: Cannot "]
                .iter()
                .find_map(|w| before.rsplit_once(w));
            match cannot {
                Some((path, _)) if errno == "No such file or directory" => {
                    Some((Severity::Benign, path.to_owned(), VANISHED.to_owned()))
                }
                // Of what it writes to it says it so too, with its own name for it.
                Some((path, _)) if path != "-" => {
                    Some(incomplete((path, format!("cannot be read: {errno}"))))
                }
                _ => None,
            }
        } else {
            None
        };
        match found {
            Some((severity, path, message)) => {
                self.findings.add(Finding { severity, path: Some(format!("/{path}")), message });
            }
            None => {
                self.odd.get_or_insert_with(|| line.to_owned());
            }
        }
    }

    /// What came of it: 1 is for files that changed, 2 also for those that could not be read.
    pub fn conclude(mut self, code: Option<i32>) -> Result<Findings, Failure> {
        let found = self.findings.incomplete_total + self.findings.benign_total > 0;
        match (code, self.odd) {
            (Some(0), odd) => {
                // It says that all is well; what else it says is told.
                if let Some(message) = odd {
                    self.findings.add(Finding { severity: Severity::Benign, path: None, message });
                }
                Ok(self.findings)
            }
            (Some(1 | 2), None) if found => Ok(self.findings),
            (_, Some(odd)) => Err(Failure::new(FailureCode::DumpFailed, format!("tar said: {odd}"))),
            (Some(code), None) => {
                Err(Failure::new(FailureCode::DumpFailed, format!("tar ended with {code}")))
            }
            (None, None) => Err(Failure::new(FailureCode::Killed, "tar was ended by a signal")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn of(lines: &[&str], code: Option<i32>) -> Result<Vec<(Severity, String)>, FailureCode> {
        let mut told = Told::default();
        lines.iter().for_each(|line| told.take(line));
        let findings = told.conclude(code).map_err(|failure| failure.code)?;
        Ok(findings.kept.into_iter().map(|f| (f.severity, f.path.unwrap())).collect())
    }

    const END: &str = "tar: Exiting with failure status due to previous errors";

    #[test]
    fn what_could_not_be_read_is_found_and_the_rest_is_there() {
        use Severity::{Benign, Incomplete};
        let lines = [
            "tar: srv/a: b: Cannot open: Permission denied",
            "tar: srv/gone: Cannot stat: No such file or directory",
            "tar: srv/log: file changed as we read it",
            "tar: srv/new: File removed before we read it",
            "tar: srv/short: File shrank by 12 bytes; padding with zeros",
            "tar: srv/bad: Read error at byte 0, while reading 10 bytes: Input/output error",
            "tar: srv/s: socket ignored",
            END,
        ];
        let expected = [
            (Incomplete, "/srv/a: b"),
            (Benign, "/srv/gone"),
            (Benign, "/srv/log"),
            (Benign, "/srv/new"),
            (Incomplete, "/srv/short"),
            (Incomplete, "/srv/bad"),
        ];
        assert_eq!(of(&lines, Some(2)).unwrap(), expected.map(|(s, p)| (s, p.to_owned())));
        assert_eq!(of(&["tar: x: socket ignored"], Some(0)).unwrap(), []);
    }

    #[test]
    fn what_is_not_understood_is_no_success() {
        assert_eq!(of(&[END], Some(2)), Err(FailureCode::DumpFailed));
        assert_eq!(of(&[], Some(1)), Err(FailureCode::DumpFailed));
        assert_eq!(of(&[], None), Err(FailureCode::Killed));
        let worse =
            ["tar: srv/a: Cannot open: Permission denied", "tar: Error is not recoverable: exiting now"];
        assert_eq!(of(&worse, Some(2)), Err(FailureCode::DumpFailed));
        assert_eq!(of(&["tar: -: Cannot write: Broken pipe"], Some(2)), Err(FailureCode::DumpFailed));
        let future = "tar: srv/a: time stamp 2040-01-01 00:00:00 is 5 s in the future";
        assert_eq!(of(&[future], Some(2)), Err(FailureCode::DumpFailed));
        let mut told = Told::default();
        told.take(future);
        assert_eq!(told.conclude(Some(0)).unwrap().benign_total, 1);
    }

    #[test]
    fn names_and_patterns_are_never_options() {
        let files = Files {
            paths: vec!["/-rf".into(), "/".into(), "/a\n".into()],
            excludes: vec!["*.o".into(), "pp:/srv/[x]\\".into(), "fm:/srv/*/".into(), "-x".into()],
            one_file_system: true,
            exclude_caches: true,
        };
        assert_eq!(list(&files.paths), b"-rf\0.\0a\n\0");
        let line = create(&files, "/l");
        for word in
            ["--exclude=*.o", "--exclude=srv/[x]\\", "--exclude=srv/*", "--exclude=-x", "--one-file-system"]
        {
            assert!(line.iter().any(|w| w == word), "{word}: {line:?}");
        }
        assert!(line.iter().all(|word| word.starts_with("--")), "{line:?}");
    }
}
