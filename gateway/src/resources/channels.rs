//! Channels: where people are told.

use super::definition::{Prepared, Resource, existing};
use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, seal};
use serde_json::{Map, Value, json};
use strongroom_domain::channel::{self, Target};
use strongroom_domain::definition::Retired;
use strongroom_domain::view::ChannelTest;
use strongroom_domain::{ChannelId, Event, Kind};

/// The kind.
pub struct Channels;

impl Resource for Channels {
    type Spec = channel::Spec;
    const KIND: Kind = Kind::Channel;
    const PLURAL: &'static str = "channels";
    const SINGULAR: &'static str = "channel";
    const HIDDEN: &'static [&'static str] = &["/target/signing_key"];
    const SEALED: &'static [&'static str] = &["secret"];
    const LOST: (&'static str, &'static str) =
        ("signing secret", "PUT the channel with a 'secret' of your own");

    fn draws(fields: &Map<String, Value>) -> bool {
        fields.get("secret").is_none_or(Value::is_null)
    }

    fn pick(event: &Event) -> Option<channel::Spec> {
        if let Event::ChannelDefined(spec) = event { Some(spec.clone()) } else { None }
    }

    fn defined(spec: channel::Spec) -> Event {
        Event::ChannelDefined(spec)
    }

    fn retired(retired: Retired) -> Event {
        Event::ChannelRetired(retired)
    }

    async fn prepare(
        app: &App,
        _request: &Request,
        id: &str,
        mut fields: Map<String, Value>,
        old: Option<&channel::Spec>,
    ) -> Result<Prepared<channel::Spec>, Problem> {
        let given = body::take_text(&mut fields, "secret")?;
        body::refuse_sealed(&fields, Self::HIDDEN, "secret")?;
        let mut spec: channel::Spec = body::understand(fields)?;
        let kept = old.and_then(|old| {
            let Target::Webhook { signing_key, .. } = &old.target;
            signing_key.clone()
        });
        let mut shown_once = Map::new();
        let Target::Webhook { signing_key, .. } = &mut spec.target;
        *signing_key = match (given, kept) {
            (None, Some(kept)) => Some(kept),
            (given, _) => {
                let secret = match given {
                    Some(text) if seal::is_signing_secret(&text) => text,
                    Some(_) => {
                        return Err(Problem::field(
                            "secret",
                            "must be 'whsec_' and 24 to 64 bytes in base64",
                        ));
                    }
                    None => {
                        let text = seal::draw_signing_secret();
                        shown_once.insert("secret".into(), json!(text));
                        text
                    }
                };
                let (recipient, _): (String, _) = app.ask("notifier", "recipient", &(), None).await?;
                Some(seal::store(&app.bus, &format!("channel-{id}"), &secret, &recipient).await?)
            }
        };
        Ok(Prepared { spec, shown_once })
    }
}

/// `POST /channels/{id}/test`.
pub async fn test(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    existing::<Channels>(app, id).await?;
    let channel: ChannelId = id.parse().map_err(|_| Problem::not_found(Channels::SINGULAR, id))?;
    let (_, last) = app.bus.log_state().await?;
    let at = Some(app.bus.position(last));
    let (result, position): (ChannelTest, _) = app.ask("notifier", "test", &channel, at).await?;
    Ok(Good::at(position, json!(result)))
}
