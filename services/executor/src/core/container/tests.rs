#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;

const LISTED: &str = "postgres\t13\npostgres\t17.2-alpine\npostgres\t16\npostgres\tlatest\npostgres\t<none>\n<none>\t<none>\n\
                      evil/postgres\t16\ndocker.io/library/postgres\t18\nmysql\t8.4\nmariadb\t11.4\nmongo\t7\n";

fn lines(all: &[&str]) -> Vec<String> {
    all.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn official_images_are_looked_into_in_the_order_in_which_they_may_fit() {
    let of = |family, server| candidates(family, LISTED, server);
    assert_eq!(
        of(Family::Postgresql, Some(16)),
        [
            "postgres:16",
            "postgres:17.2-alpine",
            "docker.io/library/postgres:18",
            "postgres:latest",
            "postgres:13"
        ]
    );
    assert_eq!(of(Family::Postgresql, None)[..2], ["docker.io/library/postgres:18", "postgres:17.2-alpine"]);
    assert_eq!(of(Family::Mysql, None), ["mariadb:11.4", "mysql:8.4"]);
    assert_eq!(of(Family::Mongodb, None), ["mongo:7"]);
    let many: String = (0..50).map(|n| format!("postgres\t{n}\n")).collect();
    assert_eq!(candidates(Family::Postgresql, &many, Some(10)).len(), LOOKED_INTO);
    assert_eq!(wanted("postgres", Some(16)), "postgres:16");
    assert_eq!(wanted("mongo", None), "mongo");
}

#[test]
fn an_image_is_known_by_what_it_is_and_not_by_its_name() {
    let said = br#"{"Id":"sha256:ab","RepoTags":["postgres:16"],"Config":{"Volumes":{"/var/lib/postgresql/data":{}}}}"#;
    let image = inspected("postgres:16", said).unwrap();
    assert_eq!((image.id.as_str(), image.name.as_str()), ("sha256:ab", "postgres:16"));
    assert_eq!(image.volumes, ["/var/lib/postgresql/data"]);
    assert_eq!(inspected("x", br#"{"Id":"sha256:cd","Config":{"Volumes":null}}"#).unwrap().volumes.len(), 0);
    assert_eq!(inspected("x", b"[]"), None);
}

#[test]
fn only_an_engine_of_this_machine_that_runs_programs_as_who_they_are_is_fit() {
    assert_eq!(
        unfit(br#"{"ServerVersion":"20.10","SecurityOptions":["name=seccomp,profile=default"]}"#, &[]),
        None
    );
    let rootless = unfit(br#"{"ServerVersion":"29","SecurityOptions":["name=rootless"]}"#, &[]).unwrap();
    assert!(rootless.contains("rootless"), "{rootless}");
    let down = unfit(br#"{"ServerErrors":["Cannot connect to the Docker daemon"]}"#, &[]).unwrap();
    assert!(down.contains("Cannot connect"), "{down}");
    assert!(unfit(b"", &lines(&["permission denied"])).unwrap().contains("permission denied"));
    assert_eq!(socket("unix:///run/docker.sock"), Ok(Path::new("/run/docker.sock")));
    for far in ["tcp://10.0.0.1:2375", "ssh://a", "unix://relative", ""] {
        assert!(socket(far).is_err(), "{far}");
    }
}

#[test]
fn a_container_can_do_no_more_than_its_program_needs() {
    let image = Image { name: "postgres:16".into(), id: "sha256:ab".into(), volumes: vec!["/v,1".into()] };
    let arguments = lines(&["--format=custom", "-x"]);
    let start = Start {
        name: "strongroom-1",
        labels: &lines(&["strongroom.executor=e"]),
        image: &image,
        program: "pg_dump",
        arguments: &arguments,
        environment: &["PGHOST"],
        seen: &lines(&["/s t/pass", "/a,b\"c"]),
        user: (0, 7),
        reads: false,
    };
    let words = start.arguments();
    let has = |word: &str| words.iter().any(|w| w == word);
    for word in [
        "--rm",
        "--pull=never",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--log-driver=none",
        "--user=0:7",
        "--env=PGHOST",
        "--mount=type=bind,source=/s t/pass,target=/s t/pass,readonly",
        "--mount=type=bind,\"source=/a,b\"\"c\",\"target=/a,b\"\"c\",readonly",
    ] {
        assert!(has(word), "{word}: {words:?}");
    }
    assert!(!has("--interactive") && !has("--privileged"), "{words:?}");
    assert!(words.iter().any(|w| w.starts_with("--mount=type=tmpfs,\"target=/v,1\"")), "{words:?}");
    assert_eq!(words[words.len() - 4..], ["--entrypoint=pg_dump", "sha256:ab", "--format=custom", "-x"]);
    assert!(Start { reads: true, ..start }.arguments().contains(&"--interactive".to_owned()));
}

#[test]
fn an_error_of_the_engine_is_told_from_one_of_the_program() {
    let dead =
        lines(&["docker: Error response from daemon: no space left on device.", "See 'docker run --help'."]);
    assert_eq!(
        engines_error(Some(125), &dead).unwrap(),
        "Error response from daemon: no space left on device."
    );
    assert_eq!(
        engines_error(Some(125), &lines(&["error waiting for container: EOF"])).unwrap(),
        "error waiting for container: EOF"
    );
    let lacking = lines(&[
        "docker: Error response from daemon: exec: \"pg_dump\": executable file not found in $PATH: unknown.",
    ]);
    assert!(engines_error(Some(127), &lacking).is_some() && is_lacking(&lacking));
    // A program may end as it likes.
    assert_eq!(engines_error(Some(127), &lines(&["psql: something"])), None);
    assert_eq!(engines_error(Some(1), &lines(&["pg_dump: error: docker: no"])), None);
    assert_eq!(engines_error(Some(0), &dead), None);
    assert_eq!(engines_error(None, &dead), None);
}
