//! The first administrator's token: without it nobody could issue another.

use crate::auth;
use anyhow::Context as _;
use std::path::Path;
use strongroom_bus::{Bus, Context, NewEvent};
use strongroom_domain::token::{Issued, Scope};
use strongroom_domain::{Aggregate, Event, EventId, Kind, TokenId};
use strongroom_service::{clock, file};

/// Its name.
const NAME: &str = "bootstrap";

/// Issues it when it never was, and writes it to `state_dir/token`. Once revoked, it does not come again.
pub async fn first_token(bus: &Bus, state_dir: &Path) -> anyhow::Result<()> {
    let aggregate = Aggregate::new(Kind::Token, NAME);
    if !bus.journal().load(&aggregate).await?.events.is_empty() {
        return Ok(());
    }
    // The file first: a token that is issued and written nowhere would be lost for ever.
    let path = state_dir.join("token");
    let text = match std::fs::read_to_string(&path) {
        // One of another name would be issued under a name that it does not show, and nobody could ever come in.
        Ok(text)
            if text.trim().strip_prefix(auth::PREFIX).is_some_and(|rest| rest.starts_with("bootstrap_")) =>
        {
            text.trim().to_owned()
        }
        _ => {
            let name: TokenId = NAME.parse()?;
            let text = auth::draw(&name);
            file::write_private(&path, format!("{text}\n").as_bytes())
                .with_context(|| path.display().to_string())?;
            text
        }
    };
    let issued = Issued {
        sha256: auth::digest(&text),
        scope: Scope::Admin,
        description: "made at the first start; revoke it when others are issued".into(),
        expires_at: None,
    };
    let new = NewEvent {
        id: EventId::of_command(&format!("bootstrap/{}", bus.generation()), 0),
        at: clock::now(),
        event: Event::TokenIssued(issued),
    };
    let context = Context::service("gateway");
    let first = |history: &strongroom_bus::History| {
        Ok::<_, std::convert::Infallible>(history.events.is_empty().then(|| new.clone()))
    };
    bus.journal().decide(&aggregate, &context, first).await?;
    Ok(())
}
