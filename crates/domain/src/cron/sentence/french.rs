//! The phrases of French.

use super::days::{Days, OfMonth, OfWeek};
use super::{Unit, Within, Words, consecutive, groups, joined};
use crate::cron::Day;

pub(super) struct French;

const MONTHS: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];
const ORDINALS: [&str; 6] = ["", "premier", "deuxième", "troisième", "quatrième", "cinquième"];

/// Cities that French calls by another name, with the word before.
const CITIES: &[(&str, &str)] = &[
    ("Algiers", "d'Alger"),
    ("Athens", "d'Athènes"),
    ("Beirut", "de Beyrouth"),
    ("Brussels", "de Bruxelles"),
    ("Bucharest", "de Bucarest"),
    ("Cairo", "du Caire"),
    ("Cayenne", "de Cayenne"),
    ("Copenhagen", "de Copenhague"),
    ("Havana", "de La Havane"),
    ("Hong_Kong", "de Hong Kong"),
    ("Jerusalem", "de Jérusalem"),
    ("Kyiv", "de Kiev"),
    ("Lisbon", "de Lisbonne"),
    ("London", "de Londres"),
    ("Mexico_City", "de Mexico"),
    ("Montreal", "de Montréal"),
    ("Moscow", "de Moscou"),
    ("Noumea", "de Nouméa"),
    ("Prague", "de Prague"),
    ("Reunion", "de La Réunion"),
    ("Sao_Paulo", "de São Paulo"),
    ("Seoul", "de Séoul"),
    ("Singapore", "de Singapour"),
    ("Tahiti", "de Tahiti"),
    ("Vienna", "de Vienne"),
    ("Warsaw", "de Varsovie"),
];

impl Words for French {
    fn and(&self, parts: &[String]) -> String {
        joined(parts, "et")
    }

    fn at(&self, times: &[String]) -> String {
        format!("à {}", self.and(times))
    }

    fn every(&self, n: u16, unit: Unit, evenly: bool) -> String {
        let (one, whole) = names(unit);
        match (n, evenly) {
            (1, _) => format!("toutes les {one}s"),
            (_, true) => format!("toutes les {n} {one}s"),
            (_, false) => format!("toutes les {n} {one}s à partir du début de chaque {whole}"),
        }
    }

    fn at_each(&self, unit: Unit, numbers: &str, several: bool) -> String {
        let (one, whole) = names(unit);
        if several {
            format!("aux {one}s {numbers} de chaque {whole}")
        } else {
            format!("à la {one} {numbers} de chaque {whole}")
        }
    }

    fn every_hour(&self, minute: u16) -> String {
        if minute == 0 {
            "toutes les heures, à l'heure pile".into()
        } else {
            format!("toutes les heures à la minute {minute}")
        }
    }

    fn every_hours(&self, n: usize, first: &str) -> String {
        format!("toutes les {n} heures à partir de {first}")
    }

    fn hourly(&self) -> String {
        "toutes les heures".into()
    }

    fn between(&self, first: &str, last: &str) -> String {
        format!("de {first} à {last}")
    }

    fn within(&self, unit: Within, numbers: &str, several: bool) -> String {
        let (one, many) = match unit {
            Within::Minutes => ("la minute", "les minutes"),
            Within::Hours => ("l'heure", "les heures"),
        };
        format!("pendant {} {numbers}", if several { many } else { one })
    }

    fn range(&self, first: u16, last: u16) -> String {
        format!("{first} à {last}")
    }

    fn every_day(&self) -> String {
        "tous les jours".into()
    }

    fn days(&self, days: &Days) -> String {
        match (&days.of_month, &days.of_week) {
            (Some(month), Some(week)) if days.both => {
                format!("{} quand c'est {}", of_month(month), condition(week))
            }
            (Some(month), Some(week)) => format!("{}, et aussi {}", of_month(month), of_week(week)),
            (Some(month), None) => of_month(month),
            (None, Some(week)) => of_week(week),
            (None, None) => self.every_day(),
        }
    }

    fn months(&self, months: &[u16]) -> String {
        let names: Vec<_> = months.iter().filter_map(|m| month(*m)).collect();
        match names.as_slice() {
            [first, _, .., last] if consecutive(months) => format!("{} à {last}", of(first)),
            _ => format!("en {}", self.and(&names)),
        }
    }

    fn years(&self, years: &str) -> String {
        format!("en {years}")
    }

    fn every_years(&self, n: u16, first: u16) -> String {
        format!("tous les {n} ans ({first}, {}, ...)", first + n)
    }

    fn never(&self) -> String {
        "jamais".into()
    }

    fn zone(&self, name: &str, city: Option<&str>) -> String {
        match city {
            Some(city) => {
                let known = CITIES.iter().find(|(english, _)| *english == city);
                let of =
                    known.map_or_else(|| of(&city.replace('_', " ")), |(_, french)| (*french).to_owned());
                format!("heure {of} ({name})")
            }
            None if matches!(name, "UTC" | "GMT") => name.to_owned(),
            None => format!("fuseau horaire {name}"),
        }
    }
}

/// `de mars`, `d'avril`.
fn of(name: &str) -> String {
    let vowel = name.to_lowercase().starts_with(['a', 'e', 'é', 'h', 'i', 'o', 'u']);
    if vowel { format!("d'{name}") } else { format!("de {name}") }
}

fn names(unit: Unit) -> (&'static str, &'static str) {
    match unit {
        Unit::Second => ("seconde", "minute"),
        Unit::Minute => ("minute", "heure"),
    }
}

fn month(number: u16) -> Option<String> {
    MONTHS.get(usize::from(number).checked_sub(1)?).map(|name| (*name).to_owned())
}

/// `1er`, `2`.
fn number(n: u16) -> String {
    if n == 1 { "1er".into() } else { n.to_string() }
}

fn of_month(days: &OfMonth) -> String {
    let mut items = Vec::new();
    let numbers: Vec<_> = groups(&days.numbers)
        .into_iter()
        .flat_map(|(first, last)| match last - first {
            0 => vec![format!("le {}", number(first))],
            1 => vec![format!("le {}", number(first)), format!("le {}", number(last))],
            _ => vec![format!("du {} au {}", number(first), number(last))],
        })
        .collect();
    if !numbers.is_empty() {
        items.push(format!("{} du mois", joined(&numbers, "et")));
    }
    for day in &days.nearest_weekday {
        items.push(format!("le jour ouvré le plus proche du {} du mois", number(*day)));
    }
    if days.last {
        items.push("le dernier jour du mois".into());
    }
    if days.last_weekday {
        items.push("le dernier jour ouvré du mois".into());
    }
    joined(&items, "et")
}

fn name(day: Day) -> &'static str {
    match day {
        Day::Monday => "lundi",
        Day::Tuesday => "mardi",
        Day::Wednesday => "mercredi",
        Day::Thursday => "jeudi",
        Day::Friday => "vendredi",
        Day::Saturday => "samedi",
        Day::Sunday => "dimanche",
    }
}

fn of_week(days: &OfWeek) -> String {
    let numbers: Vec<_> = days.any.iter().map(|day| *day as u16).collect();
    let mut items = match days.any.as_slice() {
        [first, _, .., last] if consecutive(&numbers) => {
            vec![format!("du {} au {}", name(*first), name(*last))]
        }
        any => any.iter().map(|day| format!("le {}", name(*day))).collect(),
    };
    items.extend(special(days));
    joined(&items, "et")
}

fn condition(days: &OfWeek) -> String {
    let any = days.any.iter().map(|day| format!("un {}", name(*day)));
    joined(&any.chain(special(days)).collect::<Vec<_>>(), "ou")
}

fn special(days: &OfWeek) -> Vec<String> {
    let nth = days.nth.iter().map(|(n, day)| {
        format!("le {} {} du mois", ORDINALS.get(*n).copied().unwrap_or_default(), name(*day))
    });
    nth.chain(days.last.iter().map(|day| format!("le dernier {} du mois", name(*day)))).collect()
}
