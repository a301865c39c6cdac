//! Prometheus' text form (version 0.0.4): every number with its kind, and those of one name together.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Numbers to be written.
#[derive(Debug, Default)]
pub struct Exposition(BTreeMap<String, Family>);

#[derive(Debug, Default)]
struct Family {
    help: String,
    samples: Vec<(String, f64)>,
}

impl Exposition {
    /// Adds a number. A label's value is text of ours (a slug, a name of a service, a version).
    pub fn add(&mut self, name: &str, help: &str, label: Option<(&str, &str)>, value: f64) {
        let family = self.0.entry(name.to_owned()).or_default();
        if family.help.is_empty() {
            help.clone_into(&mut family.help);
        }
        let label = label.map(|(label, text)| {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{{{label}=\"{text}\"}}")
        });
        family.samples.push((label.unwrap_or_default(), value));
    }

    /// Adds a number of a service, which may have brought its labels along: `jobs{phase="failed"}`.
    pub fn add_named(&mut self, named: &str, value: f64) {
        let (name, labels) = named.find('{').map_or((named, ""), |at| named.split_at(at));
        let family = self.0.entry(format!("strongroom_{name}")).or_default();
        meaning(name).clone_into(&mut family.help);
        family.samples.push((labels.to_owned(), value));
    }

    /// All of them.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.0 {
            // What only grows is called so, by the rule for names.
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            if !family.help.is_empty() {
                let _ = writeln!(text, "# HELP {name} {}", family.help);
            }
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for (label, value) in &family.samples {
                let _ = writeln!(text, "{name}{label} {value}");
            }
        }
        text
    }
}

/// What a service's number means; nothing for one that is not known here yet.
fn meaning(name: &str) -> &'static str {
    match name {
        "archives" => "Archives that are listed.",
        "jobs" => "Jobs by phase, those that ended by how they ended.",
        "quarantined" => "Messages that a service could not take in.",
        "scheduler_jobs_running" => "Jobs that run.",
        "scheduler_jobs_waiting" => "Jobs that wait.",
        "scheduler_plans" => "Plans that the scheduler knows.",
        "scheduler_halted" => {
            "Things that the scheduler stopped at because of a message that it cannot read."
        }
        "scheduler_sequence" => "How far the scheduler has read the log.",
        "catalog_sequence" => "How far the catalog has read the log.",
        "catalog_lag" => "Messages between the catalog and the end of the log.",
        "catalog_held_back" => "Messages that the catalog holds back behind one that it cannot read.",
        "notifier_position" => "How far the notifier has read the log.",
        "notifier_pending" => "Messages to people that are on their way.",
        "notifier_stuck" => "Messages to people that were tried in vain.",
        "notifier_halted" => "Things that the notifier stopped at because of a message that it cannot read.",
        "notifier_delivered_total" => "Messages to people that arrived.",
        "notifier_failed_total" => "Messages to people that were given up.",
        "recovery_position" => "How far recovery has read the log.",
        "recovery_docker_usable" => "Whether Docker can be used.",
        "recovery_fuse_usable" => "Whether FUSE can be used.",
        "recovery_borg_usable" => "Whether borg can be used.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_name_stand_together_and_say_what_they_are() {
        let mut numbers = Exposition::default();
        numbers.add("strongroom_ready", "Whether it is.", Some(("service", "a")), 1.0);
        numbers.add_named("done_total{of=\"x\"}", 3.0);
        numbers.add("strongroom_ready", "Whether it is.", Some(("service", "b\"\\")), 0.0);
        assert_eq!(
            numbers.text(),
            "# TYPE strongroom_done_total counter\nstrongroom_done_total{of=\"x\"} 3\n\
             # HELP strongroom_ready Whether it is.\n# TYPE strongroom_ready gauge\n\
             strongroom_ready{service=\"a\"} 1\nstrongroom_ready{service=\"b\\\"\\\\\"} 0\n"
        );
    }
}
