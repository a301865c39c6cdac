//! How borg is called: argument lists, never a shell.
//!
//! A file called `-e` broke a backup of others, and could have been an option: `--` stands before everything that is a
//! path. Borg expands `{...}` in archive names and comments, so braces are doubled where they are ours.

use super::manifest;
use strongroom_domain::JobId;
use strongroom_domain::job::BackupSpec;
use strongroom_domain::repository::{Access, Encryption};
use strongroom_domain::source::Files;

/// How often borg writes a checkpoint, in seconds: what a killed backup has stored until then is not stored again.
const CHECKPOINT_INTERVAL_S: u32 = 300;
/// How long borg waits for a lock when the plan does not say, in seconds.
const LOCK_WAIT_S: u32 = 60;

/// `<repository>::<archive>`. Somebody else's archive may be called `{hostname}`, which borg would take for another one:
/// the one that was to be kept would be deleted.
pub fn archive(access: &Access, name: &str) -> String {
    format!("{}::{}", access.location, name.replace('{', "{{").replace('}', "}}"))
}

fn call(command: &str, lock_wait_s: u32) -> Vec<String> {
    let words = ["--log-json", "--progress", "--lock-wait", &lock_wait_s.to_string(), command];
    words.map(str::to_owned).to_vec()
}

/// `borg create` of files.
pub fn create(spec: &BackupSpec, files: &Files, job: JobId, server: &str) -> Vec<String> {
    let mut line = create_with(spec, job, server);
    line.extend(of_files(files));
    line.extend([archive(&spec.access, &spec.archive_name(job)), "--".into()]);
    line.extend(files.paths.iter().cloned());
    line
}

/// `borg create` of what comes through these pipes, one after the other, below the current folder; and of files, which come
/// before the last of them. These special files are left out: they would be read as well.
pub fn create_of_streams(
    spec: &BackupSpec,
    job: JobId,
    server: &str,
    pipes: &[String],
    files: Option<(&Files, &[String])>,
) -> Vec<String> {
    let mut line = create_with(spec, job, server);
    line.push("--read-special".into());
    let mut paths = pipes.to_vec();
    if let Some((files, specials)) = files {
        // The first pattern that matches counts: no exclude of the plan's leaves out a dump.
        line.extend(pipes.iter().map(|pipe| format!("--pattern=+ pf:{pipe}")));
        line.extend(specials.iter().map(|path| format!("--exclude=pf:{path}")));
        line.extend(of_files(files));
        let last = paths.len().saturating_sub(1);
        paths.splice(last..last, files.paths.iter().cloned());
    }
    line.extend([archive(&spec.access, &spec.archive_name(job)), "--".into()]);
    line.extend(paths);
    line
}

/// What is left out of files.
fn of_files(files: &Files) -> Vec<String> {
    let mut line = Vec::new();
    if files.one_file_system {
        line.push("--one-file-system".into());
    }
    if files.exclude_caches {
        line.push("--exclude-caches".into());
    }
    // One word each: a pattern that begins with a dash is a pattern.
    line.extend(files.excludes.iter().map(|pattern| format!("--exclude={pattern}")));
    line
}

fn create_with(spec: &BackupSpec, job: JobId, server: &str) -> Vec<String> {
    let mut line = call("create", spec.limits.lock_wait_s.unwrap_or(LOCK_WAIT_S));
    let comment = manifest::comment(spec, job, server).replace('{', "{{").replace('}', "}}");
    line.extend(["--json".into(), "--comment".into(), comment]);
    line.extend(["--compression".into(), spec.compression.as_str().to_owned()]);
    line.extend(["--checkpoint-interval".into(), CHECKPOINT_INTERVAL_S.to_string()]);
    if let Some(rate) = spec.limits.upload_rate_kib_per_s {
        line.extend(["--upload-ratelimit".into(), rate.to_string()]);
    }
    line
}

/// `borg init` at a place of its own.
pub fn init(encryption: Encryption, place: &str) -> Vec<String> {
    let mut line = call("init", LOCK_WAIT_S);
    line.extend([
        "--encryption".into(),
        encryption.to_string(),
        "--make-parent-dirs".into(),
        place.to_owned(),
    ]);
    line
}

/// `borg info --json` of a repository, or of one archive in it.
pub fn info(access: &Access, name: Option<&str>) -> Vec<String> {
    let mut line = call("info", LOCK_WAIT_S);
    line.extend(["--json".into(), name.map_or_else(|| access.location.clone(), |n| archive(access, n))]);
    line
}

/// `borg list --json`: the archives of a repository.
pub fn list_archives(access: &Access) -> Vec<String> {
    let mut line = call("list", LOCK_WAIT_S);
    line.extend(["--json".into(), access.location.clone()]);
    line
}

/// The same with what is written in each archive itself, which borg reads one by one for it.
pub fn describe_archives(access: &Access) -> Vec<String> {
    let mut line = call("list", LOCK_WAIT_S);
    line.extend(["--json", "--format", "{comment}{hostname}{end}"].map(str::to_owned));
    line.push(access.location.clone());
    line
}

/// The same of one archive, by a name of ours.
pub fn describe_archive(access: &Access, name: &str) -> Vec<String> {
    let mut line = describe_archives(access);
    let place = line.pop();
    line.push(format!("--glob-archives={name}"));
    line.extend(place);
    line
}

/// `borg list --json-lines`: the entries of an archive at and below these paths, all of them when there is none.
pub fn list_entries(access: &Access, name: &str, paths: &[String]) -> Vec<String> {
    let mut line = call("list", LOCK_WAIT_S);
    line.extend(["--json-lines".into(), archive(access, name), "--".into()]);
    line.extend(literal(paths));
    line
}

/// `borg extract` of these paths, all of them when there is none, into the current folder.
pub fn extract(access: &Access, name: &str, paths: &[String]) -> Vec<String> {
    let mut line = call("extract", LOCK_WAIT_S);
    // A file that is immutable could neither be moved to where it belongs nor be removed from the scratch folder.
    line.extend(["--noflags".into(), archive(access, name), "--".into()]);
    line.extend(literal(paths));
    line
}

/// `borg extract` of the content of one file, to the standard output.
pub fn extract_to_stdout(access: &Access, name: &str, path: &str) -> Vec<String> {
    let mut line = call("extract", LOCK_WAIT_S);
    line.extend(["--stdout".into(), archive(access, name), "--".into()]);
    // Not `pf:`, the path itself: borg 1.2 says of it that it never matched when it did.
    line.extend(literal(&[path.to_owned()]));
    line
}

/// `borg export-tar` of these paths, all of them when there is none, to the standard output.
pub fn export_tar(access: &Access, name: &str, paths: &[String]) -> Vec<String> {
    let mut line = call("export-tar", LOCK_WAIT_S);
    line.extend([archive(access, name), "-".into(), "--".into()]);
    line.extend(literal(paths));
    line
}

/// `pp:` is a literal prefix: a star in a name is a star.
fn literal(paths: &[String]) -> impl Iterator<Item = String> {
    paths.iter().map(|path| format!("pp:{path}"))
}

/// `borg delete` of one archive.
pub fn delete(access: &Access, name: &str) -> Vec<String> {
    let mut line = call("delete", LOCK_WAIT_S);
    line.push(archive(access, name));
    line
}

/// `borg delete` of several archives, which writes the list of what is left once. Names that could be taken for something
/// else are not given to it so: [`is_plain`].
pub fn delete_all(access: &Access, names: &[&str]) -> Vec<String> {
    let mut line = call("delete", LOCK_WAIT_S);
    line.push(access.location.clone());
    line.extend(names.iter().map(|name| (*name).to_owned()));
    line
}

/// Whether a name is neither an option nor a pattern of borg's.
pub fn is_plain(name: &str) -> bool {
    !name.starts_with('-') && !name.contains(['{', '}', '*', '?', '[', ':'])
}

/// `borg delete` of the checkpoints that killed attempts at an archive have left.
pub fn delete_checkpoints(access: &Access, name: &str) -> Vec<String> {
    let mut line = call("delete", LOCK_WAIT_S);
    // `borg delete` sees checkpoints as they are; it has no `--consider-checkpoints`, and ends with an error at that word.
    line.extend([format!("--glob-archives={name}.checkpoint*"), access.location.clone()]);
    line
}

/// `borg compact`.
pub fn compact(access: &Access) -> Vec<String> {
    let mut line = call("compact", LOCK_WAIT_S);
    // Without it, it does not say how much it has freed.
    line.insert(0, "--info".into());
    line.push(access.location.clone());
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use serde_json::json;
    use strongroom_domain::source::Source;

    #[test]
    fn what_people_name_can_never_be_an_option() {
        let spec: BackupSpec = serde_json::from_value(json!({
            "plan": "web", "compression": "zstd,9",
            "access": { "repository": "r", "location": "/b/s/r", "encryption": "none" },
            "source": {
                "type": "files", "paths": ["/-rf", "/b"], "excludes": ["-x", "*.o"],
                "one_file_system": true, "exclude_caches": true,
            },
            "limits": { "upload_rate_kib_per_s": 5, "lock_wait_s": 7 },
        }))
        .unwrap();
        let job = "0192f0c1-0000-7000-8000-000000000001".parse().unwrap();
        let Source::Files(files) = &spec.source else { panic!("no files") };
        let line = create(&spec, files, job, "s");
        let end = line.iter().position(|w| w == "--").unwrap();
        assert_eq!(line[end + 1..], ["/-rf", "/b"]);
        assert_eq!(line[end - 1], format!("/b/s/r::web-{job}"));
        for word in ["--exclude=-x", "--one-file-system", "--exclude-caches", "zstd,9"] {
            assert!(line.iter().any(|w| w == word), "{word}: {line:?}");
        }
        let comment = &line[line.iter().position(|w| w == "--comment").unwrap() + 1];
        assert!(comment.starts_with("{{") && comment.ends_with("}}"), "{comment}");
        let access = &spec.access;
        assert_eq!(archive(access, "{hostname}"), "/b/s/r::{{hostname}}");
        assert_eq!(extract(access, "a", &["x/*".into()]).last().unwrap(), "pp:x/*");
    }
}
