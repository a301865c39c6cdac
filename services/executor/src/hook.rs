//! Programs that a plan names: which of them this node runs, and how.
//!
//! Whoever may write a plan could else run anything as the executor, which is root on most nodes. So the node says in
//! which folders such programs lie, and none of them is somebody else's to change (docs/decisions/012). They are given
//! their arguments as a list, an environment without anything secret, and no more memory for what they say than its end.

use crate::child::{Input, Plan};
use crate::control::{Control, Stop};
use crate::core::tail::Tail;
use crate::program;
use rustix::process::{Signal, geteuid};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use strongroom_domain::{Failure, FailureCode};

/// How long one that is told to end may take for it.
const GRACE: Duration = Duration::from_secs(5);
/// How long the last words of one that has ended are waited for: what it has started may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Who may write besides the owner and his group (`man 7 inode`).
const OTHERS_WRITE: u32 = 0o002;

/// What a program is told of why it runs.
pub struct Environment {
    /// For which plan.
    pub plan: String,
    /// For which job.
    pub job: String,
    /// Of which server.
    pub server: String,
    /// Docker's engine, when its administrator has named one: what a program stops and starts is to be found there.
    pub docker_host: Option<String>,
}

impl Environment {
    fn with(&self, phase: &str, outcome: Option<&str>) -> Vec<(&'static str, OsString)> {
        let kept = ["PATH", "HOME"].iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let ours = [
            ("LANG", "C.UTF-8"),
            ("STRONGROOM_PLAN", &self.plan),
            ("STRONGROOM_JOB", &self.job),
            ("STRONGROOM_SERVER", &self.server),
            ("STRONGROOM_PHASE", phase),
        ];
        let outcome = outcome.map(|outcome| ("STRONGROOM_OUTCOME", outcome));
        let engine = self.docker_host.as_deref().map(|host| ("DOCKER_HOST", host));
        kept.chain(ours.into_iter().chain(outcome).chain(engine).map(|(name, value)| (name, value.into())))
            .collect()
    }
}

/// A program that is to run.
pub struct Hook<'a> {
    /// It and its arguments.
    pub command: &'a [String],
    /// How long it may take.
    pub within: Duration,
    /// `before`, `after`, `stop` or `start`.
    pub phase: &'a str,
    /// What came of the backup, for those after it.
    pub outcome: Option<&'a str>,
}

impl Hook<'_> {
    /// Its name, for people.
    pub fn name(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    /// Keeps what it said, under its name.
    pub fn keep(&self, log: &mut Tail, problem: Option<&str>, tail: &[String]) {
        log.push(&format!("{} {}: {}", self.phase, self.name(), problem.unwrap_or("done")));
        log.push(&tail.join("\n"));
    }
}

/// What came of one.
pub struct Ran {
    /// Why it did not do its work; nothing, when it ended with 0.
    pub problem: Option<String>,
    /// The last lines of what it said.
    pub tail: Vec<String>,
}

/// Runs it to its end, to that of its time, or until the attempt is to stop.
pub async fn run(
    hook: &Hook<'_>,
    environment: &Environment,
    notes: &Path,
    mut control: Control,
) -> Result<Ran, Stop> {
    let Some((program, arguments)) = hook.command.split_first() else {
        return Ok(Ran { problem: Some("names no program".into()), tail: Vec::new() });
    };
    let plan = Plan {
        program: program.into(),
        arguments: arguments.to_vec(),
        environment: environment.with(hook.phase, hook.outcome),
        folder: Some("/".into()),
        input: Input::Nothing,
        user: None,
        notes: notes.to_owned(),
        inside: None,
    };
    let (stdout, stderr, mut handle) = match program::start(plan).await {
        Ok(running) => running.into_parts(),
        Err(failure) => return Ok(Ran { problem: Some(failure.message), tail: Vec::new() }),
    };
    let tail = Mutex::new(Tail::default());
    let mut speaking = std::pin::pin!(async {
        tokio::join!(program::tail_into(stdout, &tail), program::tail_into(stderr, &tail));
    });
    let mut heard = false;
    let mut time = std::pin::pin!(tokio::time::sleep(hook.within));
    let stopped = loop {
        tokio::select! {
            status = handle.ended() => {
                if !heard {
                    let _ = tokio::time::timeout(LAST_WORDS, &mut speaking).await;
                }
                let problem = match status {
                    Ok(status) if status.success() => None,
                    Ok(status) => Some(format!("ended with {status}")),
                    Err(e) => Some(e.to_string()),
                };
                return Ok(Ran { problem, tail: said(&tail) });
            }
            () = &mut speaking, if !heard => heard = true,
            () = &mut time => break None,
            why = control.stopped() => break Some(why),
        }
    };
    handle.signal(Signal::TERM);
    let _ = tokio::time::timeout(GRACE, handle.ended()).await;
    handle.signal(Signal::KILL);
    match stopped {
        Some(why) => Err(why),
        None => {
            let problem = Some(format!("was ended after {} s", hook.within.as_secs()));
            Ok(Ran { problem, tail: said(&tail) })
        }
    }
}

fn said(tail: &Mutex<Tail>) -> Vec<String> {
    std::mem::take(&mut *tail.lock().unwrap_or_else(PoisonError::into_inner)).lines.into()
}

/// Whether this node runs all of these; else why not.
pub fn check<'a>(
    allowed: &[PathBuf],
    commands: impl Iterator<Item = &'a Vec<String>>,
) -> Result<(), Failure> {
    for program in commands.filter_map(|command| command.first()) {
        refusal(allowed, Path::new(program)).map_or(Ok(()), |why| {
            Err(Failure::new(
                FailureCode::HooksNotAllowed,
                format!("this node does not run {program}: {why}"),
            ))
        })?;
    }
    Ok(())
}

fn refusal(allowed: &[PathBuf], program: &Path) -> Option<String> {
    if allowed.is_empty() {
        return Some("its executor was started without --allow-hooks".into());
    }
    // Where it lies counts, with links resolved; a link that lies there itself was put there by whoever the folder is of.
    let folder = match program.parent().map(Path::canonicalize) {
        Some(Ok(folder)) => folder,
        Some(Err(e)) => return Some(format!("its folder cannot be looked at: {e}")),
        None => return Some("it is no program".into()),
    };
    let root =
        allowed.iter().filter_map(|root| root.canonicalize().ok()).find(|root| folder.starts_with(root));
    let Some(root) = root else {
        let named: Vec<_> = allowed.iter().map(|root| root.display().to_string()).collect();
        return Some(format!("it lies in none of the folders that are allowed: {}", named.join(", ")));
    };
    if !program.is_file() {
        return Some("there is no such file".into());
    }
    let above = folder.ancestors().take_while(|above| above.starts_with(&root));
    let own = geteuid().as_raw();
    above.chain([program]).find_map(|path| match path.metadata() {
        Err(e) => Some(format!("{} cannot be looked at: {e}", path.display())),
        Ok(of) if of.uid() != 0 && of.uid() != own => {
            Some(format!("{} belongs to another user than root and the executor's own", path.display()))
        }
        Ok(of) if of.mode() & OTHERS_WRITE != 0 => {
            Some(format!("{} can be written by everybody", path.display()))
        }
        Ok(_) => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::control::pair;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn script(folder: &Path, name: &str, text: &str) -> String {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_lies_elsewhere_or_is_anybodys_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (hooks, other) = (root.join("hooks"), root.join("other"));
        std::fs::create_dir(&hooks).unwrap();
        std::fs::create_dir(&other).unwrap();
        let (good, elsewhere) = (script(&hooks, "good", "true"), script(&other, "good", "true"));
        let why = |allowed: &[PathBuf], program: &str| {
            check(allowed, [vec![program.to_owned()]].iter()).err().map(|f| (f.code, f.message))
        };
        let allowed = [hooks.clone()];
        assert_eq!(why(&allowed, &good), None);
        let told = |allowed: &[PathBuf], program: &str, words: &str| {
            let (code, message) = why(allowed, program).unwrap();
            assert_eq!(code, FailureCode::HooksNotAllowed);
            assert!(message.contains(words), "{message}");
        };
        told(&[], &good, "--allow-hooks");
        told(&allowed, &elsewhere, "in none of the folders");
        told(&allowed, &format!("{}/../other/good", hooks.display()), "in none of the folders");
        told(&allowed, &hooks.join("none").display().to_string(), "no such file");
        // A folder is not another one whose name begins alike.
        told(&[root.join("hoo")], &good, "in none of the folders");
        // A link to a folder is what it leads to; a link in the folder was put there.
        symlink(&other, hooks.join("way")).unwrap();
        told(&allowed, &hooks.join("way/good").display().to_string(), "in none of the folders");
        symlink(&elsewhere, hooks.join("link")).unwrap();
        assert_eq!(why(&allowed, &hooks.join("link").display().to_string()), None);
        set_mode(Path::new(&good), 0o757);
        told(&allowed, &good, "written by everybody");
        set_mode(Path::new(&good), 0o755);
        set_mode(&hooks, 0o777);
        told(&allowed, &good, "written by everybody");
    }

    async fn ran(text: &str, arguments: &[&str], within: Duration) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "h", text);
        let command: Vec<String> =
            [program].into_iter().chain(arguments.iter().map(|a| (*a).to_owned())).collect();
        let hook = Hook { command: &command, within, phase: "after", outcome: Some("failed") };
        let environment =
            Environment { plan: "p".into(), job: "j".into(), server: "s".into(), docker_host: None };
        let (_stopper, control) = pair();
        run(&hook, &environment, folder.path(), control).await.unwrap_or_else(|_| std::process::abort())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_is_given_its_arguments_as_they_are_and_an_environment_of_few_words() {
        let Ran { problem, tail } = ran("echo \"$1|$#\"; env; pwd", &["a b;$(id)", "c"], LONG).await;
        assert_eq!(problem, None);
        assert!(tail.contains(&"a b;$(id)|2".to_owned()), "{tail:?}");
        let mut names: Vec<_> = tail.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        names.sort_unstable();
        let mut expected = vec![
            "HOME",
            "LANG",
            "PATH",
            // The shell's own.
            "PWD",
            "STRONGROOM_JOB",
            "STRONGROOM_OUTCOME",
            "STRONGROOM_PHASE",
            "STRONGROOM_PLAN",
            "STRONGROOM_SERVER",
        ];
        expected.retain(|name| *name != "HOME" || std::env::var_os("HOME").is_some());
        assert_eq!(names, expected);
        assert!(tail.contains(&"STRONGROOM_OUTCOME=failed".to_owned()), "{tail:?}");
    }

    #[tokio::test]
    async fn what_it_says_is_kept_in_part_and_how_it_ends_is_told() {
        let text = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of many words\"; i=$((i+1)); done; echo other >&2; exit 7";
        let Ran { problem, tail } = ran(text, &[], LONG).await;
        assert_eq!(problem.as_deref(), Some("ended with exit status: 7"));
        assert!(tail.len() <= 50 && tail.iter().any(|l| l == "line 19999 of many words"), "{tail:?}");
        let endless = ran("trap '' TERM; sleep 1000 & wait; wait", &[], Duration::from_secs(1)).await;
        assert_eq!(endless.problem.as_deref(), Some("was ended after 1 s"));
        let gone = ran("exit 0", &[], LONG).await;
        assert_eq!(gone.problem, None);
    }

    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid").display().to_string();
        let Ran { problem, .. } = ran("sleep 1000 & echo $! > \"$1\"", &[&file], LONG).await;
        assert_eq!(problem, None);
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let lives = crate::child::start_time(u32::try_from(pid).unwrap()).is_some();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        assert!(lives, "what was started is gone");
    }
}
