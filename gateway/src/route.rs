//! Which path is what, and which methods it has. One table, so that 404 and 405 are told apart and `Allow` is true.

use warp::http::Method;

/// The kinds of definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definitions {
    /// Machines with data to protect.
    Servers,
    /// Where bytes go.
    Destinations,
    /// Borg repositories.
    Repositories,
    /// Standing instructions.
    Plans,
    /// Where people are told.
    Channels,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/healthz`
    Alive,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/api/v1`
    Version,
    /// `/api/v1/plans`
    List(Definitions),
    /// `/api/v1/plans/{id}`
    One(Definitions, &'a str),
    /// `/api/v1/plans/{id}/run`
    Run(&'a str),
    /// `/api/v1/plans/{id}/pause`
    Pause(&'a str),
    /// `/api/v1/plans/{id}/resume`
    Resume(&'a str),
    /// `/api/v1/plans/{id}/retention`
    Retention(&'a str),
    /// `/api/v1/plans/{id}/retention/preview`
    PreviewRetention(&'a str),
    /// `/api/v1/plans/{id}/retention/replay`
    ReplayRetention(&'a str),
    /// `/api/v1/plans/{id}/retention/simulate`
    SimulateRetention(&'a str),
    /// `/api/v1/schedules/preview`
    PreviewSchedule,
    /// `/api/v1/repositories/{id}/cleanup`
    Cleanup(&'a str),
    /// `/api/v1/archives/{id}/holds/{name}`
    Hold(&'a str, &'a str),
    /// `/api/v1/repositories/{id}/init`
    Init(&'a str),
    /// `/api/v1/repositories/{id}/scan`
    Scan(&'a str),
    /// `/api/v1/archives/{id}/copy`
    Copy(&'a str),
    /// `/api/v1/sources/test`
    TestSource,
    /// `/api/v1/destinations/{id}/usage`
    Usage(&'a str),
    /// `/api/v1/destinations/{id}/test`
    TestDestination(&'a str),
    /// `/api/v1/channels/{id}/test`
    TestChannel(&'a str),
    /// `/api/v1/tokens`
    Tokens,
    /// `/api/v1/tokens/{id}`
    Token(&'a str),
    /// `/api/v1/jobs`
    Jobs,
    /// `/api/v1/jobs/{id}`
    Job(&'a str),
    /// `/api/v1/jobs/{id}/cancel`
    Cancel(&'a str),
    /// `/api/v1/jobs/{id}/retry`
    Retry(&'a str),
    /// `/api/v1/jobs/{id}/log`
    JobLog(&'a str),
    /// `/api/v1/archives`
    Archives,
    /// `/api/v1/archives/{id}`
    Archive(&'a str),
    /// `/api/v1/archives/{id}/files`
    Files(&'a str),
    /// `/api/v1/archives/{id}/download`
    Download(&'a str),
    /// `/api/v1/archives/{id}/index`
    Index(&'a str),
    /// `/api/v1/archives/{id}/restore`
    Restore(&'a str),
    /// `/api/v1/archives/{id}/restore-cluster`
    RestoreCluster(&'a str),
    /// `/api/v1/archives/{id}/restore-database`
    RestoreDatabase(&'a str),
    /// `/api/v1/servers/{id}/restore-dump`
    RestoreDump(&'a str),
    /// `/api/v1/events`
    Events,
    /// `/api/v1/nodes`
    Nodes,
    /// `/api/v1/quarantine`
    Quarantine,
    /// `/api/v1/quarantine/{id}/redrive`
    Redrive(&'a str),
    /// `/api/v1/recovery/capabilities`
    Capabilities,
    /// `/api/v1/settings/limits`
    Limits,
    /// `/api/v1/lateness`
    Lateness,
}

impl<'a> Route<'a> {
    /// What this path is.
    pub fn find(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match parts.as_slice() {
            ["healthz"] => Self::Alive,
            ["readyz"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["api", "v1"] => Self::Version,
            ["api", "v1", rest @ ..] => return Self::in_api(rest),
            _ => return None,
        })
    }

    fn in_api(parts: &[&'a str]) -> Option<Self> {
        Some(match parts {
            ["plans", id, "run"] => Self::Run(id),
            ["plans", id, "pause"] => Self::Pause(id),
            ["plans", id, "resume"] => Self::Resume(id),
            ["plans", id, "retention"] => Self::Retention(id),
            ["plans", id, "retention", "preview"] => Self::PreviewRetention(id),
            ["plans", id, "retention", "replay"] => Self::ReplayRetention(id),
            ["plans", id, "retention", "simulate"] => Self::SimulateRetention(id),
            ["schedules", "preview"] => Self::PreviewSchedule,
            ["repositories", id, "cleanup"] => Self::Cleanup(id),
            ["archives", id, "holds", name] => Self::Hold(id, name),
            ["repositories", id, "init"] => Self::Init(id),
            ["repositories", id, "scan"] => Self::Scan(id),
            ["sources", "test"] => Self::TestSource,
            ["destinations", id, "usage"] => Self::Usage(id),
            ["destinations", id, "test"] => Self::TestDestination(id),
            ["channels", id, "test"] => Self::TestChannel(id),
            ["tokens"] => Self::Tokens,
            ["tokens", id] => Self::Token(id),
            ["jobs"] => Self::Jobs,
            ["jobs", id] => Self::Job(id),
            ["jobs", id, "cancel"] => Self::Cancel(id),
            ["jobs", id, "retry"] => Self::Retry(id),
            ["jobs", id, "log"] => Self::JobLog(id),
            ["archives"] => Self::Archives,
            ["archives", id] => Self::Archive(id),
            ["archives", id, "files"] => Self::Files(id),
            ["archives", id, "download"] => Self::Download(id),
            ["archives", id, "index"] => Self::Index(id),
            ["archives", id, "copy"] => Self::Copy(id),
            ["archives", id, "restore"] => Self::Restore(id),
            ["archives", id, "restore-cluster"] => Self::RestoreCluster(id),
            ["archives", id, "restore-database"] => Self::RestoreDatabase(id),
            ["servers", id, "restore-dump"] => Self::RestoreDump(id),
            ["events"] => Self::Events,
            ["nodes"] => Self::Nodes,
            ["quarantine"] => Self::Quarantine,
            ["quarantine", id, "redrive"] => Self::Redrive(id),
            ["recovery", "capabilities"] => Self::Capabilities,
            ["settings", "limits"] => Self::Limits,
            ["lateness"] => Self::Lateness,
            [kind] => Self::List(definitions(kind)?),
            [kind, id] => Self::One(definitions(kind)?, id),
            _ => return None,
        })
    }

    /// Which methods it has.
    pub fn methods(&self) -> &'static [Method] {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        const ASK: &[Method] = &[Method::POST];
        match self {
            // What it would say without the body is said by no less than the whole work.
            Self::Download(_) => &[Method::GET],
            Self::List(_) | Self::Tokens => &[Method::GET, Method::HEAD, Method::POST],
            Self::One(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            Self::Hold(..) => &[Method::PUT, Method::DELETE],
            Self::Limits => &[Method::GET, Method::HEAD, Method::PUT],
            Self::Token(_) | Self::Archive(_) => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Run(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Init(_)
            | Self::Scan(_)
            | Self::PreviewRetention(_)
            | Self::ReplayRetention(_)
            | Self::SimulateRetention(_)
            | Self::PreviewSchedule
            | Self::Cleanup(_)
            | Self::Copy(_)
            | Self::TestSource
            | Self::TestDestination(_)
            | Self::TestChannel(_)
            | Self::Cancel(_)
            | Self::Retry(_)
            | Self::Index(_)
            | Self::Restore(_)
            | Self::RestoreCluster(_)
            | Self::RestoreDatabase(_)
            | Self::RestoreDump(_)
            | Self::Redrive(_) => ASK,
            _ => READ,
        }
    }

    /// Its name in metrics: ids would make as many numbers as there are things.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Alive => "healthz",
            Self::Ready => "readyz",
            Self::Metrics => "metrics",
            Self::Version => "version",
            Self::List(_) | Self::One(..) => "definitions",
            Self::Run(_) => "plans.run",
            Self::Pause(_) | Self::Resume(_) => "plans.pause",
            Self::Retention(_)
            | Self::PreviewRetention(_)
            | Self::ReplayRetention(_)
            | Self::SimulateRetention(_) => "plans.retention",
            Self::PreviewSchedule => "schedules.preview",
            Self::Cleanup(_) => "repositories.cleanup",
            Self::Hold(..) => "archives.holds",
            Self::Init(_) | Self::Scan(_) => "repositories.work",
            Self::TestSource => "sources.test",
            Self::Usage(_) => "destinations.usage",
            Self::TestDestination(_) => "destinations.test",
            Self::TestChannel(_) => "channels.test",
            Self::Tokens | Self::Token(_) => "tokens",
            Self::Jobs | Self::Job(_) | Self::JobLog(_) => "jobs",
            Self::Cancel(_) => "jobs.cancel",
            Self::Retry(_) => "jobs.retry",
            Self::Archives | Self::Archive(_) => "archives",
            Self::Files(_) => "archives.files",
            Self::Download(_) => "archives.download",
            Self::Index(_) => "archives.index",
            Self::Copy(_) => "archives.copy",
            Self::Restore(_) => "archives.restore",
            Self::RestoreCluster(_) => "archives.restore-cluster",
            Self::RestoreDatabase(_) => "archives.restore-database",
            Self::RestoreDump(_) => "servers.restore-dump",
            Self::Events => "events",
            Self::Nodes => "nodes",
            Self::Quarantine | Self::Redrive(_) => "quarantine",
            Self::Capabilities => "recovery",
            Self::Limits => "settings.limits",
            Self::Lateness => "lateness",
        }
    }
}

fn definitions(kind: &str) -> Option<Definitions> {
    Some(match kind {
        "servers" => Definitions::Servers,
        "destinations" => Definitions::Destinations,
        "repositories" => Definitions::Repositories,
        "plans" => Definitions::Plans,
        "channels" => Definitions::Channels,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_they_are_and_nothing_else_is() {
        assert_eq!(Route::find("/api/v1/plans"), Some(Route::List(Definitions::Plans)));
        assert_eq!(Route::find("/api/v1/plans/web"), Some(Route::One(Definitions::Plans, "web")));
        assert_eq!(Route::find("/api/v1/plans/web/run"), Some(Route::Run("web")));
        assert_eq!(Route::find("/api/v1/tokens/x"), Some(Route::Token("x")));
        assert_eq!(Route::find("/api/v1/plans/web/retention"), Some(Route::Retention("web")));
        assert_eq!(Route::find("/api/v1/plans/web/retention/preview"), Some(Route::PreviewRetention("web")));
        assert_eq!(Route::find("/api/v1/plans/web/retention/run"), None);
        assert_eq!(Route::find("/api/v1/schedules/preview"), Some(Route::PreviewSchedule));
        assert_eq!(Route::find("/api/v1/archives/x/holds/audit"), Some(Route::Hold("x", "audit")));
        for none in
            ["", "/", "/api", "/api/v2/plans", "/api/v1/plans/web/run/x", "/api/v1/planes", "/api/v1/plans/"]
        {
            let route = Route::find(none);
            assert!(
                route.is_none() || route == Some(Route::One(Definitions::Plans, "")),
                "{none}: {route:?}"
            );
        }
    }
}
