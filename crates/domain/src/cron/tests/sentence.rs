//! Sentences, word by word, and that none says another thing than what runs.

use super::super::sentence::Days;
use super::*;
use jiff::civil::Date;
use proptest::prelude::*;

#[test]
fn sentences_are_as_people_say_them() {
    // Expression, English, French; the zone is said elsewhere.
    let cases = [
        ("30 2 * * 1-5", "At 02:30, Monday to Friday", "À 02:30, du lundi au vendredi"),
        ("0 2 * * *", "At 02:00, every day", "À 02:00, tous les jours"),
        ("@daily", "At 00:00, every day", "À 00:00, tous les jours"),
        ("@hourly", "Every hour, on the hour", "Toutes les heures, à l'heure pile"),
        ("@weekly", "At 00:00, on Sundays", "À 00:00, le dimanche"),
        ("@monthly", "At 00:00, on the 1st of the month", "À 00:00, le 1er du mois"),
        ("@yearly", "At 00:00, on the 1st of the month, in January", "À 00:00, le 1er du mois, en janvier"),
        ("45 * * * *", "Every hour at minute 45", "Toutes les heures à la minute 45"),
        ("* * * * *", "Every minute", "Toutes les minutes"),
        ("*/15 * * * *", "Every 15 minutes", "Toutes les 15 minutes"),
        (
            "*/7 * * * *",
            "Every 7 minutes from the start of each hour",
            "Toutes les 7 minutes à partir du début de chaque heure",
        ),
        // croner would say every 10 minutes.
        (
            "0-30/10 * * * *",
            "At minutes 0, 10, 20 and 30 of each hour",
            "Aux minutes 0, 10, 20 et 30 de chaque heure",
        ),
        ("5,35 * * * *", "At minutes 5 and 35 of each hour", "Aux minutes 5 et 35 de chaque heure"),
        ("0-10 * * * *", "At minutes 0 to 10 of each hour", "Aux minutes 0 à 10 de chaque heure"),
        ("0 2,14 * * *", "At 02:00 and 14:00, every day", "À 02:00 et 14:00, tous les jours"),
        (
            "0,30 1,2 * * SUN",
            "At 01:00, 01:30, 02:00 and 02:30, on Sundays",
            "À 01:00, 01:30, 02:00 et 02:30, le dimanche",
        ),
        (
            "0 */6 * * *",
            "At 00:00, 06:00, 12:00 and 18:00, every day",
            "À 00:00, 06:00, 12:00 et 18:00, tous les jours",
        ),
        (
            "30 */2 * * *",
            "Every 2 hours from 00:30, every day",
            "Toutes les 2 heures à partir de 00:30, tous les jours",
        ),
        (
            "30 8-18 * * MON-FRI",
            "Every hour from 08:30 to 18:30, Monday to Friday",
            "Toutes les heures de 08:30 à 18:30, du lundi au vendredi",
        ),
        (
            "*/15 8-17 * * 1,4",
            "Every 15 minutes from 08:00 to 17:45, on Mondays and Thursdays",
            "Toutes les 15 minutes de 08:00 à 17:45, le lundi et le jeudi",
        ),
        (
            "*/15 0-3,22,23 * * *",
            "Every 15 minutes, during hours 0 to 3, 22 and 23, every day",
            "Toutes les 15 minutes, pendant les heures 0 à 3, 22 et 23, tous les jours",
        ),
        (
            "* 2 * * *",
            "Every minute from 02:00 to 02:59, every day",
            "Toutes les minutes de 02:00 à 02:59, tous les jours",
        ),
        ("15 30 2 * * *", "At 02:30:15, every day", "À 02:30:15, tous les jours"),
        ("*/10 * * * * *", "Every 10 seconds", "Toutes les 10 secondes"),
        ("* * * * * *", "Every second", "Toutes les secondes"),
        ("5 * * * * *", "At second 5 of each minute", "À la seconde 5 de chaque minute"),
        (
            "*/10 */30 2 * * *",
            "Every 10 seconds, during minutes 0 and 30, during hour 2, every day",
            "Toutes les 10 secondes, pendant les minutes 0 et 30, pendant l'heure 2, tous les jours",
        ),
        (
            "0 3 1,15 * *",
            "At 03:00, on the 1st and the 15th of the month",
            "À 03:00, le 1er et le 15 du mois",
        ),
        (
            "0 3 1-7,22 * *",
            "At 03:00, on the 1st to the 7th and the 22nd of the month",
            "À 03:00, du 1er au 7 et le 22 du mois",
        ),
        ("0 3 L * *", "At 03:00, on the last day of the month", "À 03:00, le dernier jour du mois"),
        // croner would say the last day.
        (
            "0 3 LW * *",
            "At 03:00, on the last weekday of the month",
            "À 03:00, le dernier jour ouvré du mois",
        ),
        (
            "0 3 15W * *",
            "At 03:00, on the weekday nearest to the 15th of the month",
            "À 03:00, le jour ouvré le plus proche du 15 du mois",
        ),
        (
            "0 3 15,L * *",
            "At 03:00, on the 15th of the month and the last day of the month",
            "À 03:00, le 15 du mois et le dernier jour du mois",
        ),
        (
            "0 3 * * TUE#3",
            "At 03:00, on the third Tuesday of the month",
            "À 03:00, le troisième mardi du mois",
        ),
        ("0 3 * * 5L", "At 03:00, on the last Friday of the month", "À 03:00, le dernier vendredi du mois"),
        ("0 3 * * 6,0", "At 03:00, on Saturdays and Sundays", "À 03:00, le samedi et le dimanche"),
        ("0 3 * * 5-7", "At 03:00, Friday to Sunday", "À 03:00, du vendredi au dimanche"),
        ("0 3 * * 0-6", "At 03:00, every day", "À 03:00, tous les jours"),
        (
            "0 3 13 * FRI",
            "At 03:00, on the 13th of the month, and also on Fridays",
            "À 03:00, le 13 du mois, et aussi le vendredi",
        ),
        (
            "0 3 13 * +FRI",
            "At 03:00, on the 13th of the month when that is a Friday",
            "À 03:00, le 13 du mois quand c'est un vendredi",
        ),
        ("0 3 1-31 * FRI", "At 03:00, every day", "À 03:00, tous les jours"),
        ("0 3 1-31 * +FRI", "At 03:00, on Fridays", "À 03:00, le vendredi"),
        (
            "0 3 * 1,7 MON",
            "At 03:00, on Mondays, in January and July",
            "À 03:00, le lundi, en janvier et juillet",
        ),
        (
            "0 3 * APR-OCT *",
            "At 03:00, every day, from April to October",
            "À 03:00, tous les jours, d'avril à octobre",
        ),
        (
            "0 0 3 * * * 2027-2030",
            "At 03:00, every day, from 2027 to 2030",
            "À 03:00, tous les jours, de 2027 à 2030",
        ),
        (
            "0 0 3 * * * */2",
            "At 03:00, every day, every 2 years (1971, 1973, ...)",
            "À 03:00, tous les jours, tous les 2 ans (1971, 1973, ...)",
        ),
    ];
    for (cron, english, french) in cases {
        let schedule = schedule(cron, "UTC");
        assert_eq!(schedule.sentence(Language::English), format!("{english}, UTC"), "{cron}");
        assert_eq!(schedule.sentence(Language::French), format!("{french}, UTC"), "{cron}");
    }
}

#[test]
fn the_zone_is_named_after_its_city() {
    let cases = [
        ("Europe/Paris", "Paris time (Europe/Paris)", "heure de Paris (Europe/Paris)"),
        ("America/New_York", "New York time (America/New_York)", "heure de New York (America/New_York)"),
        ("Europe/London", "London time (Europe/London)", "heure de Londres (Europe/London)"),
        ("Europe/Amsterdam", "Amsterdam time (Europe/Amsterdam)", "heure d'Amsterdam (Europe/Amsterdam)"),
        ("Africa/Cairo", "Cairo time (Africa/Cairo)", "heure du Caire (Africa/Cairo)"),
        (
            "America/Argentina/Salta",
            "Salta time (America/Argentina/Salta)",
            "heure de Salta (America/Argentina/Salta)",
        ),
        ("Etc/GMT+5", "time zone Etc/GMT+5", "fuseau horaire Etc/GMT+5"),
        ("UTC", "UTC", "UTC"),
    ];
    for (zone, english, french) in cases {
        let schedule = schedule("30 2 * * 1-5", zone);
        assert_eq!(schedule.sentence(Language::English), format!("At 02:30, Monday to Friday, {english}"));
        assert_eq!(schedule.sentence(Language::French), format!("À 02:30, du lundi au vendredi, {french}"));
    }
}

#[test]
fn what_names_no_time_is_never() {
    assert_eq!(schedule(", * * * *", "UTC").sentence(Language::English), "Never, UTC");
    assert_eq!(schedule("0 0 , * *", "UTC").sentence(Language::French), "Jamais, UTC");
}

#[test]
fn languages_go_by_their_codes() {
    assert_eq!(serde_json::to_string(&Language::French).unwrap(), r#""fr""#);
    assert_eq!("en".parse::<Language>().unwrap(), Language::English);
}

fn field(low: u16, high: u16) -> impl Strategy<Value = String> {
    let item = prop_oneof![
        (low..=high).prop_map(|n| n.to_string()),
        (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (low..=high, low..=high, 1..40u16).prop_map(|(a, b, n)| format!("{}-{}/{n}", a.min(b), a.max(b))),
        (1..40u16).prop_map(|n| format!("*/{n}")),
    ];
    prop_oneof![1 => Just("*".to_owned()), 3 => proptest::collection::vec(item, 1..4).prop_map(|items| items.join(","))]
}

fn day_of_month() -> impl Strategy<Value = String> {
    prop_oneof![field(1, 31), "(L|LW|[1-9]W|2[0-9]W|L,[1-9]|LW,3W|1,L)"]
}

fn day_of_week() -> impl Strategy<Value = String> {
    prop_oneof![field(0, 7), "\\+?[0-6](#[1-5]|L)(,[0-6](#[1-5]|L)?)?", "\\+(MON|SUN)(-7)?"]
}

/// Whether what is said of the days holds for a date, worked out the long way.
fn said_of(days: &Days, date: Date) -> bool {
    let weekday = Day::from(date.weekday());
    let works = |date: Date| Day::from(date.weekday()) <= Day::Friday;
    let all: Vec<Date> =
        (1..=date.days_in_month()).map(|d| Date::new(date.year(), date.month(), d).unwrap()).collect();
    let month = days.of_month.as_ref().map(|m| {
        let nearest = |n: u16| {
            let around = all.iter().filter(|d| works(**d));
            let far = |d: &&Date| (i32::from(d.day()) - i32::from(n)).abs();
            (usize::from(n) <= all.len()).then(|| *around.min_by_key(far).unwrap())
        };
        m.numbers.contains(&(date.day() as u16))
            || m.nearest_weekday.iter().any(|n| nearest(*n) == Some(date))
            || (m.last && date == date.last_of_month())
            || (m.last_weekday && all.iter().rev().find(|d| works(**d)) == Some(&date))
    });
    let week = days.of_week.as_ref().map(|w| {
        let nth = usize::from(date.day().unsigned_abs() - 1) / 7 + 1;
        let last = date.day() + 7 > date.days_in_month();
        w.any.contains(&weekday) || w.nth.contains(&(nth, weekday)) || (last && w.last.contains(&weekday))
    });
    match (month, week) {
        (Some(month), Some(week)) => {
            if days.both {
                month && week
            } else {
                month || week
            }
        }
        (month, week) => month.or(week).unwrap_or(true),
    }
}

proptest! {
    #[test]
    fn any_expression_that_is_understood_has_a_sentence(
        seconds in prop_oneof![Just(String::new()), field(0, 59)], minute in field(0, 59), hour in field(0, 23),
        day in day_of_month(), month in field(1, 12), weekday in day_of_week(), zone in 0usize..3,
    ) {
        let cron = format!("{seconds} {minute} {hour} {day} {month} {weekday}");
        let zone = ["Europe/Paris", "Etc/GMT-3", "UTC"][zone];
        if let Ok(schedule) = spec(cron.trim(), zone).parse() {
            for language in [Language::English, Language::French] {
                let sentence = schedule.sentence(language);
                prop_assert!(sentence.contains(zone), "{sentence}");
                for clumsy in ["  ", " ,", ",,", "and ,", "on ,", " et ,"] {
                    prop_assert!(!sentence.contains(clumsy), "{cron}: {sentence}");
                }
                prop_assert!(sentence.chars().next().unwrap().is_uppercase());
            }
        }
    }

    #[test]
    fn the_days_that_are_said_are_the_days_on_which_it_runs(
        day in day_of_month(), weekday in day_of_week(), from in 0i32..20_000,
    ) {
        if let Ok(schedule) = spec(&format!("0 0 {day} * {weekday}"), "UTC").parse() {
            let pattern = &schedule.cron.pattern;
            let days = Days::of(pattern);
            let from: Date = Date::constant(2000, 1, 1).checked_add(jiff::Span::new().days(from)).unwrap();
            for date in from.series(jiff::Span::new().days(1)).take(62) {
                let weekday = croner::Weekday::from_days_from_sunday(date.weekday().to_sunday_zero_offset() as u32);
                let runs = pattern.day_match(date.year().into(), date.month() as u32, date.day() as u32, weekday).unwrap();
                prop_assert_eq!(said_of(&days, date), runs, "{} {} on {}", day, weekday as u8, date);
            }
        }
    }

    #[test]
    fn text_of_any_kind_is_an_error_or_has_a_sentence(cron in "[0-9*,/#LWlw@?+ -]{0,24}") {
        if let Ok(schedule) = spec(&cron, "Europe/Paris").parse() {
            prop_assert!(!schedule.sentence(Language::French).is_empty());
        }
    }
}
