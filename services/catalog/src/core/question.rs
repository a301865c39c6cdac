//! Answers from the views: one function from a question's name and body to the encoded answer.

use super::framed;
use super::key::{self, Listed};
use super::list::{self, RawPage, Refused};
use super::overlay::Record;
use super::store::{Base, Start, StoreError};
use super::view::archives::ArchiveRecord;
use super::view::definitions::Spec;
use super::view::jobs::JobRecord;
use std::ops::ControlFlow;
use strongroom_bus::Question;
use strongroom_domain::view::{Archive, Definition, ListQuestion, Node};
use strongroom_domain::{
    ArchiveId, JobId, Kind, Rejection, channel, destination, id, plan, repository, server, token,
};

/// Answers `view`, when it is one of the views.
pub fn answer(base: &dyn Base, view: &str, question: &Question) -> Result<Vec<u8>, Refused> {
    match view {
        "servers" => definitions::<server::Spec>(base, question),
        "destinations" => definitions::<destination::Spec>(base, question),
        "repositories" => definitions::<repository::Spec>(base, question),
        "plans" => definitions::<plan::Spec>(base, question),
        "channels" => definitions::<channel::Spec>(base, question),
        "tokens" => definitions::<token::Issued>(base, question),
        "server" | "destination" | "repository" | "plan" | "channel" | "token" => {
            definition(base, kind_of(view), question)
        }
        "jobs" => list::newest_first(base, Listed::Jobs, &question.read()?),
        "archives" => list::newest_first(base, Listed::Archives, &question.read()?),
        "job" => {
            let id: JobId = question.read()?;
            let bytes = base.get(&Listed::Jobs.record(id.0))?;
            let record = bytes.map(|bytes| JobRecord::decode(&bytes)).transpose()?;
            Ok(framed::value(&record.map(|record| record.job))?)
        }
        "archive" => Ok(framed::value(&archive(base, question.read()?)?)?),
        "nodes" => nodes(base),
        _ => Err(Rejection::NotFound { kind: "question".into(), id: view.to_owned() }.into()),
    }
}

/// An archive; `None` when it is unknown or deleted.
pub fn archive(base: &dyn Base, id: ArchiveId) -> Result<Option<Archive>, StoreError> {
    let bytes = base.get(&Listed::Archives.record(id.0))?;
    Ok(bytes.map(|bytes| ArchiveRecord::decode(&bytes)).transpose()?.and_then(|record| record.shown()))
}

fn kind_of(view: &str) -> Kind {
    view.parse().unwrap_or(Kind::Settings)
}

fn definition(base: &dyn Base, kind: Kind, question: &Question) -> Result<Vec<u8>, Refused> {
    let id: String = question.read()?;
    let found = base.get(&key::definition(kind, &id))?;
    // A definition stands in the store as it is sent.
    Ok(found.map_or_else(|| framed::value(&()), Ok)?)
}

/// What filters of lists can ask of a definition. Those that it does not know are refused, not passed over.
trait Filter {
    fn server(&self) -> Option<&str> {
        None
    }
    fn repository(&self) -> Option<&str> {
        None
    }
}

impl Filter for server::Spec {}
impl Filter for destination::Spec {}
impl Filter for channel::Spec {}
impl Filter for token::Issued {}

impl Filter for repository::Spec {
    fn server(&self) -> Option<&str> {
        Some(self.server.as_str())
    }
}

impl Filter for plan::Spec {
    fn server(&self) -> Option<&str> {
        Some(self.server.as_str())
    }

    fn repository(&self) -> Option<&str> {
        Some(self.repository.as_str())
    }
}

fn definitions<T: Spec + Filter>(base: &dyn Base, question: &Question) -> Result<Vec<u8>, Refused> {
    let question: ListQuestion = question.read()?;
    let limit = list::list_limit(&question)?;
    refuse_unknown_filters(T::KIND, &question)?;
    let prefix = key::definitions(T::KIND);
    let after = match &question.after {
        Some(id) if id::is_slug(id) => Some(key::definition(T::KIND, id)),
        Some(_) => {
            return Err(Rejection::field("after", "must be the 'next' of an earlier page, an id").into());
        }
        None => None,
    };
    let filtered = question.server.is_some() || question.repository.is_some();
    let mut page = RawPage::default();
    let mut last = String::new();
    base.scan(&prefix, after.as_deref().map(Start::After), &mut |key, value| {
        if filtered {
            let found: Definition<T> = framed::read(value)?;
            let fits = |asked: Option<&str>, has: Option<&str>| asked.is_none_or(|a| has == Some(a));
            if !fits(question.server.as_ref().map(|s| s.as_str()), found.spec.server())
                || !fits(question.repository.as_ref().map(|r| r.as_str()), found.spec.repository())
            {
                return Ok(ControlFlow::Continue(()));
            }
        }
        if page.len() == limit || !page.push(value) {
            page.continued(last.clone());
            return Ok(ControlFlow::Break(()));
        }
        last = String::from_utf8_lossy(key.get(prefix.len()..).unwrap_or_default()).into_owned();
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page.encode()?)
}

fn refuse_unknown_filters(kind: Kind, question: &ListQuestion) -> Result<(), Rejection> {
    let by_server = matches!(kind, Kind::Plan | Kind::Repository);
    let by_repository = kind == Kind::Plan;
    let refused = [
        ("plan", question.plan.is_some()),
        ("server", question.server.is_some() && !by_server),
        ("repository", question.repository.is_some() && !by_repository),
        ("phase", question.phase.is_some()),
    ];
    match refused.iter().find(|(_, refused)| *refused) {
        Some((field, _)) => {
            Err(Rejection::field(field, format!("a list of {kind} definitions cannot be filtered by it")))
        }
        None => Ok(()),
    }
}

fn nodes(base: &dyn Base) -> Result<Vec<u8>, Refused> {
    let mut nodes: Vec<Node> = Vec::new();
    base.scan(key::NODES, None, &mut |_, value| {
        nodes.push(framed::read(value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(framed::value(&nodes)?)
}
