//! The command line, as people and scripts use it.

use anyhow::Result;
use serde_json::json;
use strongroom_e2e::{PATIENCE, Single, Tree, strongroom, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_done_with_the_client() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(20, 10, 10_000)?;
    single.api.node_joined().await?;
    let restored = single.folder().join("restored");
    std::fs::create_dir_all(&restored)?;
    let text = |p: &std::path::Path| p.display().to_string();
    let run = |arguments: &[&str]| single.run(arguments);
    run(&["servers", "set", "web", "--node", "local", "--restore-root", &text(&restored)])?;
    run(&["destinations", "set", "disk", "--path", &text(&single.folder().join("repositories"))])?;
    let shown =
        run(&["repositories", "create", "main", "--server", "web", "--destination", "disk", "--wait"])?;
    assert!(shown.contains("shown this once"), "{shown}");
    run(&["plans", "set", "web", "--server", "web", "--repository", "main", "--path", &text(tree.path())])?;
    run(&["plans", "set", "web", "--description", "changed alone"])?;
    let plan = single.client_json(&["plans", "show", "web"])?;
    assert_eq!(
        (&plan["description"], &plan["source"]["paths"]),
        (&json!("changed alone"), &json!([tree.path()]))
    );

    let told = run(&["plans", "run", "web", "--wait"])?;
    assert!(told.contains("complete") && told.contains("new in repository"), "{told}");
    assert!(run(&["plans", "list"])?.contains("web"));
    let archives = single.client_json(&["archives", "list"])?;
    let archive = archives[0]["id"].as_str().unwrap();
    let below = text(tree.path().strip_prefix("/")?);
    let folder = run(&["archives", "browse", archive, &below])?;
    assert!(folder.contains("empty folder"), "{folder}");
    let target = restored.join("cli");
    let file = text(&tree.path().join("empty"));
    run(&["archives", "restore", archive, "--path", &file, "--to", &text(&target), "--wait"])?;
    assert!(target.join(&below).join("empty").is_file());
    let jobs = single.client_json(&["jobs", "list", "--plan", "web"])?;
    let shown = run(&["jobs", "show", jobs[0]["id"].as_str().unwrap()])?;
    assert!(shown.contains("archive name"), "{shown}");
    assert!(run(&["nodes"])?.contains("local"));
    assert!(run(&["status"])?.starts_with("ready"));
    let deleted = run(&["archives", "delete", archive, "--yes", "--wait"])?;
    assert!(deleted.contains("complete"), "{deleted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_can_be_defined_can_be_changed_and_taken_away_with_the_client() -> Result<()> {
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let run = |arguments: &[&str]| single.run(arguments);
    let show = |arguments: &[&str]| single.client_json(arguments);
    run(&["servers", "set", "web", "--node", "local", "--restore-root", "/srv/back", "--max-jobs", "2"])?;
    assert_eq!(show(&["servers", "show", "web"])?["max_concurrent_jobs"], 2);
    run(&["servers", "set", "web", "--no-restore-roots", "--max-jobs", "none"])?;
    let server = show(&["servers", "show", "web"])?;
    assert_eq!((&server["restore_roots"], &server["max_concurrent_jobs"]), (&json!([]), &json!(null)));

    run(&[
        "destinations",
        "set",
        "disk",
        "--path",
        &single.folder().join("repositories").display().to_string(),
    ])?;
    let create = ["repositories", "create", "main", "--server", "web", "--destination", "disk", "--wait"];
    let made = show(&create)?;
    assert_eq!(
        (&made["init_job"]["phase"], made["passphrase"].as_str().map(str::len)),
        (&json!("complete"), Some(43))
    );
    let told = run(&["repositories", "set", "main", "--description", "words"])?;
    assert!(told.starts_with("repository 'main'"), "{told}");
    assert_eq!(show(&["repositories", "show", "main"])?["description"], "words");
    assert_eq!(single.client(&["repositories", "set", "none", "--description", "x"])?.0, 3);

    run(&[
        "plans",
        "set",
        "web",
        "--server",
        "web",
        "--repository",
        "main",
        "--path",
        "/srv",
        "--exclude",
        "*.o",
        "--cron",
        "@daily",
        "--time-zone",
        "Europe/Berlin",
        "--overlap",
        "queue",
        "--catch-up",
        "all",
        "--jitter",
        "60",
        "--upload-rate",
        "100",
        "--max-duration",
        "3600",
        "--lock-wait",
        "0",
    ])?;
    let plan = show(&["plans", "show", "web"])?;
    assert_eq!(
        plan["schedule"],
        json!({ "cron": "@daily", "preset": null, "time_zone": "Europe/Berlin", "overlap": "queue", "catch_up": "all",
            "catch_up_limit": null, "jitter_s": 60, "blackout": [], "priority": null, "start_within_s": null })
    );
    let limits = json!({ "upload_rate_kib_per_s": 100, "max_duration_s": 3600, "lock_wait_s": 0 });
    assert_eq!((&plan["limits"], &plan["source"]["excludes"]), (&limits, &json!(["*.o"])));
    run(&[
        "plans",
        "set",
        "web",
        "--no-schedule",
        "--no-excludes",
        "--upload-rate",
        "none",
        "--lock-wait",
        "none",
    ])?;
    let plan = show(&["plans", "show", "web"])?;
    let limits = json!({ "upload_rate_kib_per_s": null, "max_duration_s": 3600, "lock_wait_s": null });
    assert_eq!(
        (&plan["limits"], &plan["schedule"], &plan["source"]["excludes"]),
        (&limits, &json!(null), &json!([]))
    );
    assert_eq!(single.client(&["plans", "set", "web", "--overlap", "both"])?.0, 2);

    let made = show(&["channels", "create", "ops", "--webhook", "https://example.org/a"])?;
    let first = made["secret"].as_str().unwrap().to_owned();
    let moved = show(&["channels", "set", "ops", "--webhook", "https://example.org/b"])?;
    assert_eq!((&moved["target"]["url"], &moved["secret"]), (&json!("https://example.org/b"), &json!(null)));
    let told = run(&["channels", "set", "ops", "--new-secret", "--description", "words"])?;
    assert!(told.contains("whsec_") && !told.contains(&first), "{told}");
    assert_eq!(show(&["channels", "show", "ops"])?["target"]["url"], "https://example.org/b");

    run(&["tokens", "issue", "ci", "--scope", "operate"])?;
    assert_eq!(show(&["tokens", "show", "ci"])?["scope"], "operate");
    assert_eq!(show(&["capabilities"])?["borg"]["usable"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_what_the_help_says() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(21, 3, 100)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    let code = |arguments: &[&str]| single.client(arguments).map(|(code, _, err)| (code, err));
    assert_eq!(code(&["plans", "show", "none"])?.0, 3);
    assert_eq!(code(&["plans", "run", "none"])?.0, 3);
    let (refused, said) = code(&["plans", "set", "web", "--cron", "every day"])?;
    assert_eq!(refused, 4);
    assert!(said.contains("schedule.cron"), "{said}");
    assert_eq!(code(&["no-such-command"])?.0, 2);
    let halves = ["archives", "restore-database", "00000000-0000-0000-0000-000000000000", "--db-port", "1"];
    assert_eq!(code(&halves)?.0, 2, "a port without its host");
    assert_eq!(code(&["archives", "delete", "00000000-0000-0000-0000-000000000000"])?.0, 4, "without --yes");
    assert_eq!(code(&["plans", "list", "--url", "http://127.0.0.1:9"])?.0, 6);
    let wrong = strongroom()?
        .args(["plans", "list"])
        .envs([("STRONGROOM_URL", single.api.url.as_str()), ("STRONGROOM_TOKEN", "srt_wrong")])
        .output()?;
    assert_eq!(wrong.status.code(), Some(5));
    single.client(&[
        "plans",
        "set",
        "gone",
        "--server",
        "web",
        "--repository",
        "web",
        "--path",
        "/no/such",
    ])?;
    assert_eq!(code(&["plans", "run", "gone", "--wait"])?.0, 10);
    let completions = strongroom()?.args(["completions", "bash"]).output()?;
    assert!(String::from_utf8_lossy(&completions.stdout).contains("repositories"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_goes_away_is_no_error_and_ends_no_service() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let unread = || -> Result<std::process::Stdio> {
        // A pipe that nobody reads from.
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        Ok(writer.into())
    };
    let output = strongroom()?.args(["completions", "bash"]).stdout(unread()?).output()?;
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(141), ""));
    // What hosts the services goes on.
    let data = folder.path().join("data");
    let mut up = strongroom()?
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdout(unread()?)
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let status = || strongroom()?.arg("status").env("STRONGROOM_DATA", &data).output().map_err(Into::into);
    let ready = wait_until("it is ready", PATIENCE, async || {
        let output: Result<std::process::Output> = status();
        (up.try_wait().ok()?.is_some() || output.ok()?.status.success()).then_some(())
    });
    let ready = ready.await;
    // Long after its last word.
    let alive = up.try_wait()?.is_none();
    std::process::Command::new("kill").args(["-TERM", &up.id().to_string()]).status()?;
    let ended = up.wait()?;
    ready?;
    assert!(alive && ended.success(), "{ended}");
    Ok(())
}
