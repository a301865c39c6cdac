//! Tells people: webhooks and the rest.
