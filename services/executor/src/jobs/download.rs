//! A download: what is in an archive, to who waits for it at the gateway. Nothing of it lies on a disk in between.

mod outflow;
mod packing;

use super::{Bench, Finished, finished, index};
use crate::borg::Call;
use crate::control::{self, Control, NoOutcome, Stop};
use crate::core::command;
use crate::core::findings::Findings;
use crate::core::surrogates::without_lone;
use crate::dump_store::Opened;
use crate::jobs::store::files::{chosen, lonely_in};
use crate::jobs::store::members::Wanted;
use outflow::Outflow;
use packing::{Limits, Single, Tar};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use strongroom_domain::job::{DownloadForm, DownloadSpec, JobResult};
use strongroom_domain::wire::Whole;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// Pieces that wait to be taken.
const PIECES: usize = 8;
/// Lines of borg that wait to be taken in.
const LINES: usize = 64;

/// Sends it.
pub async fn run(
    bench: &Bench<'_>,
    spec: &DownloadSpec,
    store: Option<&Opened<'_>>,
) -> Result<Finished, NoOutcome> {
    bench.step("look");
    let source = Source::find(bench, spec, store).await?;
    bench.step("download");
    let (stopper, inner) = control::pair();
    let mut outflow = Outflow::new(bench);
    let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
    let giving = async {
        // On the heap: it is large.
        let given = Box::pin(source.give(bench, spec, inner, give)).await;
        if given.is_err() {
            // What breaks off must not look like an end: it is told before anybody asks for more.
            stopper.stop(Stop::SourceFailed);
        }
        given
    };
    let sending = async {
        while let Some(piece) = come.recv().await {
            if let Err(why) = outflow.send(piece).await {
                // The rest is not to be read for nobody.
                stopper.stop(Stop::SourceFailed);
                come.close();
                return Err(why);
            }
        }
        Ok(())
    };
    let both = async { tokio::join!(giving, sending) };
    // Whatever runs is killed when this is dropped.
    let (given, sent) = bench.control.clone().unless_stopped(both).await?;
    sent?;
    given?;
    let Whole { size_bytes, sha256 } = outflow.end().await?;
    Ok(finished(JobResult::Download { size_bytes, sha256 }, Findings::default(), Vec::new()))
}

/// Where the bytes come from.
enum Source<'a> {
    /// One of borg's archives, by its name, and the file in it that is wanted as it is.
    Borg { name: String, file: String },
    /// Parts in a dump store.
    Store { opened: &'a Opened<'a>, chosen: super::store::files::Chosen, at_s: u64 },
}

/// What is asked of borg's list.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    /// What it is a link to; of a hard link as well, whose own content borg gives as nothing.
    #[serde(default)]
    linktarget: String,
}

impl<'a> Source<'a> {
    /// Finds all that was asked for, before the first byte is sent.
    async fn find(
        bench: &Bench<'_>,
        spec: &DownloadSpec,
        store: Option<&'a Opened<'a>>,
    ) -> Result<Self, NoOutcome> {
        let raw = spec.form == DownloadForm::Raw;
        if let Some(opened) = store {
            let archive = opened.target(&spec.archive).await?;
            let chosen = chosen(&archive.manifest.dump.artefacts, &spec.paths)?;
            let one = matches!((chosen.whole.len(), &chosen.inside), (1, None) | (0, Some(_)));
            if raw && !(one && spec.paths.len() == 1) {
                return Err(no_file(&spec.paths).into());
            }
            let at_s = u64::try_from(archive.facts.started_at.as_second()).unwrap_or_default();
            return Ok(Self::Store { opened, chosen, at_s });
        }
        let name = index::name_of(bench, &spec.access, &spec.archive).await?;
        let mut file = String::new();
        if !spec.paths.is_empty() {
            let found = look(bench, spec, &name).await?;
            if let Some(path) = found.missing {
                let message = format!("'{path}' is not in the archive");
                return Err(Failure::new(FailureCode::PathNotInArchive, message).into());
            }
            if raw {
                file = found.file.ok_or_else(|| no_file(&spec.paths))?;
            }
        } else if raw {
            return Err(no_file(&spec.paths).into());
        }
        Ok(Self::Borg { name, file })
    }

    /// Gives all bytes, in the form that was asked for. Only when this ends well were they all.
    async fn give(
        &self,
        bench: &Bench<'_>,
        spec: &DownloadSpec,
        control: Control,
        give: mpsc::Sender<Vec<u8>>,
    ) -> Result<(), NoOutcome> {
        if spec.form != DownloadForm::Zip {
            return Box::pin(self.give_plain(bench, spec, control, give)).await;
        }
        let (give_tar, come_tar) = mpsc::channel(PIECES);
        let reading = self.give_plain(bench, spec, control, give_tar);
        let packing = packing::zip(come_tar, give, Limits::default());
        let (read, packed) = tokio::join!(reading, packing);
        // A tar that broke off is no good zip either; why it did is the better answer, unless nobody wanted the rest.
        match (read, packed) {
            (_, Err(failure)) if failure.code == FailureCode::WrongForm => Err(failure.into()),
            (Err(why), _) => Err(why),
            (Ok(()), packed) => Ok(packed?),
        }
    }

    async fn give_plain(
        &self,
        bench: &Bench<'_>,
        spec: &DownloadSpec,
        control: Control,
        give: mpsc::Sender<Vec<u8>>,
    ) -> Result<(), NoOutcome> {
        match self {
            Self::Borg { name, file } => {
                let arguments = match spec.form {
                    DownloadForm::Raw => command::extract_to_stdout(&spec.access, name, file),
                    // One below another matches nothing that is left, which borg calls a warning.
                    _ => command::export_tar(&spec.access, name, &outermost(&spec.paths)),
                };
                let done = bench.borg.run_pieces(Call { control, ..bench.call(arguments) }, give).await?;
                if done.never_matched.is_empty() && done.findings.incomplete_total == 0 {
                    return Ok(());
                }
                let told = done.findings.kept.first().map(|finding| finding.message.clone());
                let message = format!("not all of it could be read: {}", told.unwrap_or_default());
                Err(Failure::new(FailureCode::RepositoryDamaged, message).with_log(done.tail).into())
            }
            Self::Store { opened, chosen, .. } if spec.form == DownloadForm::Raw => {
                match (chosen.whole.as_slice(), &chosen.inside, spec.paths.as_slice()) {
                    ([part], None, _) => read(opened.read(part, give), control).await,
                    ([], Some((part, _)), [member]) => {
                        let all = async {
                            let mut wanted = PathBuf::from(member);
                            loop {
                                let (give_tar, come_tar) = mpsc::channel(PIECES);
                                let taking = packing::member(come_tar, &give, &wanted);
                                let (read, taken) = tokio::join!(opened.read(part, give_tar), taking);
                                // What is damaged is not there either.
                                read?;
                                match taken? {
                                    Single::Given => return Ok(()),
                                    Single::LinkTo(target) => wanted = target,
                                }
                            }
                        };
                        Box::pin(read(all, control)).await
                    }
                    _ => Err(no_file(&spec.paths).into()),
                }
            }
            Self::Store { opened, chosen, at_s } => {
                let mut tar = Tar::new(give);
                let packing = async {
                    for part in &chosen.whole {
                        let (give, come) = mpsc::channel(PIECES);
                        let put = tar.put(&part.path, part.size_bytes, *at_s, come);
                        let (read, put) = tokio::join!(opened.read(part, give), put);
                        read.and(put)?;
                    }
                    if let Some((part, members)) = &chosen.inside {
                        let lonely = lonely_in(opened, part, members).await?;
                        let (give, come) = mpsc::channel(PIECES);
                        let put = tar.put_members(come, members, &lonely);
                        let (read, put) = tokio::join!(opened.read(part, give), put);
                        read.and(put)?;
                    }
                    tar.end().await
                };
                read(packing, control).await
            }
        }
    }
}

async fn read(reading: impl Future<Output = Result<(), Failure>>, control: Control) -> Result<(), NoOutcome> {
    Ok(control.unless_stopped(reading).await??)
}

/// What borg's list says of the paths.
struct Looked {
    missing: Option<String>,
    /// The path of its content, when it is one file.
    file: Option<String>,
}

async fn look(bench: &Bench<'_>, spec: &DownloadSpec, name: &str) -> Result<Looked, NoOutcome> {
    let (give, mut come) = mpsc::channel::<String>(LINES);
    let call = bench.call(command::list_entries(&spec.access, name, &spec.paths));
    let taking = async {
        let (mut entries, mut file) = (0_u64, None);
        let mut wanted = Wanted::new(&spec.paths);
        while let Some(line) = come.recv().await {
            let Ok(Listed { kind, path, linktarget }) = serde_json::from_str(&without_lone(&line)) else {
                continue;
            };
            entries += 1;
            if kind == "-" || kind == "h" {
                file = Some(if linktarget.is_empty() { path.clone() } else { linktarget });
            }
            wanted.takes(Path::new(&path));
        }
        (file.filter(|_| entries == 1), wanted.missing().cloned())
    };
    let (listed, (file, missing)) = tokio::join!(bench.borg.run_lines(call, give), taking);
    listed?;
    Ok(Looked { missing, file })
}

/// Those that are not below another.
fn outermost(paths: &[String]) -> Vec<String> {
    let below = |path: &String, other: &String| path != other && Path::new(path).starts_with(other);
    let mut outermost: Vec<String> =
        paths.iter().filter(|path| !paths.iter().any(|other| below(path, other))).cloned().collect();
    outermost.sort();
    outermost.dedup();
    outermost
}

fn no_file(paths: &[String]) -> Failure {
    let message = match paths {
        [path] => format!("'{path}' is no file with content: ask for a tar or a zip"),
        _ => "only one file can come as it is: ask for a tar or a zip".to_owned(),
    };
    Failure::new(FailureCode::WrongForm, message)
}
