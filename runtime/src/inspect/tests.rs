use serde_json::Value;
use weir_protocol::{CheckpointId, ManifestKind, layout};
use weir_storage::{Fault, MemoryStore, Operation, StoreErrorKind};

use super::fixture::{PREFIX, START, job, overwrite};
use super::*;
use crate::cli::chain;
use crate::report::{CheckpointsReport, Ending, FORMAT, Report, Sample, TakenCheckpoint};

async fn page() -> Overview {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    let inventory = read_inventory(&root).await.unwrap();
    let savepoints = read_savepoints(&root, &inventory).await.unwrap();
    overview(&history, &savepoints, &inventory, START + 45_000)
}

#[tokio::test]
async fn an_overview_is_one_page() {
    let expected = "\
job          memory:/local/bids
id           0123abcd, owner local
status       running, generation 2, revision 1
parallelism  2 of 128 key groups
journal      4 entries, newest 4: checkpoint 3, 5 s ago
restores     checkpoint 3
commits      output of checkpoint 3 may still be invisible

3 retained checkpoints
  ID  KIND        GEN  COMPLETED                      AGE     TOOK      FULL  UPLOADED  OBJECTS  CHAIN
   3  checkpoint    2  2027-01-15T08:00:20.046Z  24 s ago  46.0 ms  4.88 KiB  2.93 KiB        2  1 base + 1 run
   2  checkpoint    2  2027-01-15T08:00:10.046Z  34 s ago  46.0 ms  2.93 KiB  1.95 KiB        2  2 runs
   1  checkpoint    2  2027-01-15T08:00:00.046Z  44 s ago  46.0 ms    1000 B    1000 B        1  1 run

1 savepoint
  NAME    CHECKPOINT  COMPLETED                     SIZE  OBJECTS
  before           2  2027-01-15T08:00:10.046Z  SAVEPOINT        3
";
    let page = page().await;
    let size = page.savepoints[0].bytes;
    let text = page.render();
    let (head, storage) = text.split_once("\nstorage").unwrap();
    assert_eq!(head, expected.replace("SAVEPOINT", &crate::show::bytes(size)));
    assert!(storage.contains("  not named yet 55 B in 1 object, of the reigning generation\n"), "{storage}");
    assert!(storage.contains("  unreferenced  77 B in 1 object\n"), "{storage}");
    assert!(storage.contains("  open uploads  0\n"), "{storage}");
    assert!(!page.is_damaged() && page.is_running());
}

#[tokio::test]
async fn every_object_is_counted_once() {
    let storage = page().await.storage;
    let heaps = [
        storage.referenced,
        storage.journal,
        storage.savepoints,
        storage.unnamed,
        storage.unreferenced,
        storage.foreign,
    ];
    assert_eq!(heaps.iter().map(|heap| heap.objects).sum::<u64>(), storage.total.objects);
    assert_eq!(heaps.iter().map(|heap| heap.bytes).sum::<u64>(), storage.total.bytes);
    assert_eq!((storage.referenced.objects, storage.journal.objects, storage.savepoints.objects), (6, 4, 3));
}

#[tokio::test]
async fn missing_and_cut_objects_are_seen_in_the_overview() {
    let (_, root) = job().await;
    root.store.delete(&["runs/g2/0/1.sst".to_owned()]).await.unwrap();
    overwrite(&root, "runs/g2/0/2.sst", vec![0; 5]).await;
    overwrite(&root, "manifests/c0000000001-g2.json", b"{}".to_vec()).await;
    let history = read_history(&root).await.unwrap();
    let inventory = read_inventory(&root).await.unwrap();
    let page = overview(&history, &[], &inventory, START);
    assert_eq!(
        page.storage.missing,
        [
            format!(
                "manifests/c0000000001-g2.json: 2 bytes instead of {}",
                history.checkpoints[0].entry.manifest.length
            ),
            "runs/g2/0/1.sst: missing".to_owned(),
            "runs/g2/0/2.sst: 5 bytes instead of 2000".to_owned(),
        ]
    );
    assert!(page.is_damaged());
    assert!(
        page.checkpoints[2]
            .damaged
            .as_ref()
            .unwrap()
            .starts_with("manifests/c0000000001-g2.json: damaged or truncated: 2 bytes")
    );
}

#[tokio::test]
async fn checkpoints_are_shown_phase_by_phase() {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    let all = checkpoints(&history, None).unwrap();
    assert_eq!(all.checkpoints.iter().map(|row| row.facts.id).collect::<Vec<_>>(), [3, 2, 1]);
    let expected = "\
ID  KIND        GEN  TRIGGERED                    TOOK    START    ALIGN    SYNC    ASYNC   UPLOAD      FULL  UPLOADED  RUNS  BASES  SLOWEST
 2  checkpoint    2  2027-01-15T08:00:10.000Z  46.0 ms  2.10 ms  2.60 ms  310 µs  41.5 ms  23.0 ms  2.93 KiB  1.95 KiB     2      0  count[1]
    OPERATOR  SUBTASK    START    ALIGN    SYNC    ASYNC   UPLOAD  DURABLE AFTER    BYTES
    bids            0   350 µs     0 µs   42 µs   800 µs     0 µs        1.19 ms    120 B
    bids            1   410 µs     0 µs   38 µs   760 µs     0 µs        1.21 ms    120 B
    count           0  1.90 ms  2.60 ms  310 µs  38.0 ms  21.0 ms        42.8 ms  512 KiB
    count           1  2.10 ms  1.20 ms  275 µs  41.5 ms  23.0 ms        45.1 ms  528 KiB

";
    assert_eq!(checkpoints(&history, Some(2)).unwrap().render(true), expected);
    assert_eq!(
        checkpoints(&history, Some(9)).unwrap_err().to_string(),
        "checkpoint 9 is not retained; retained are: 3, 2, 1"
    );
}

#[tokio::test]
async fn the_journal_is_shown_newest_first_with_gaps_and_damage() {
    let (_, root) = job().await;
    root.store.delete(&[layout::journal_key(weir_protocol::Sequence(2))]).await.unwrap();
    overwrite(&root, &layout::journal_key(weir_protocol::Sequence(1)), b"x".to_vec()).await;
    let lines = journal(&root.uri, &read_entries(&root).await.unwrap());
    let kinds: Vec<_> = lines.entries.iter().map(|line| (line.sequence, line.kind.as_str())).collect();
    assert_eq!(kinds, [(4, "checkpoint"), (3, "checkpoint"), (1, "damaged")]);
    let text = lines.render();
    assert!(text.contains("    4  2027-01-15T08:00:40.000Z    2  checkpoint 3"), "{text}");
    assert!(text.contains("journal/18446744073709551614.json: damaged or truncated"), "{text}");
    assert!(text.ends_with("MISSING entries 2 to 2\n"), "{text}");
}

/// Damages one object and returns what verification says of it.
async fn verified(key: &str, bytes: Option<Vec<u8>>) -> Verification {
    let (_, root) = job().await;
    match bytes {
        Some(bytes) => overwrite(&root, key, bytes).await,
        None => root.store.delete(&[key.to_owned()]).await.unwrap(),
    }
    let history = read_history(&root).await.unwrap();
    let inventory = read_inventory(&root).await.unwrap();
    let savepoints = read_savepoints(&root, &inventory).await.unwrap();
    verify(&root, &history, &savepoints).await.unwrap()
}

#[tokio::test]
async fn an_intact_job_is_verified_to_the_last_byte() {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    let inventory = read_inventory(&root).await.unwrap();
    let savepoints = read_savepoints(&root, &inventory).await.unwrap();
    let found = verify(&root, &history, &savepoints).await.unwrap();
    assert_eq!(found.damaged, []);
    assert_eq!(found.intact, ["checkpoint 3", "checkpoint 2", "checkpoint 1", "savepoint before"]);
    // Three runs, two of a savepoint, three manifests and one of a savepoint, four entries.
    assert_eq!(found.objects, 13);
    let unneeded = ["runs/g1/0/old.sst", "runs/g2/0/4.sst"];
    let needed: u64 =
        inventory.objects.iter().filter(|(key, _)| !unneeded.contains(&key.as_str())).map(|(_, length)| length).sum();
    assert_eq!(found.bytes, needed);
}

#[tokio::test]
async fn every_kind_of_damage_is_named_with_the_checkpoints_that_need_the_object() {
    let run = "runs/g2/0/2.sst";
    let mut flipped: Vec<u8> = (0..2000).map(|index| (index % 251) as u8 ^ 2).collect();
    flipped[1234] ^= 1;
    let cut = flipped[..1999].to_vec();
    for (bytes, starts) in
        [(Some(flipped), "2000 bytes with checksum"), (Some(cut), "1999 bytes with checksum"), (None, "missing")]
    {
        let found = verified(run, bytes).await;
        let [damage] = found.damaged.as_slice() else { panic!("{:?}", found.damaged) };
        assert_eq!(
            (damage.object.as_str(), damage.needed_by.as_slice()),
            (run, ["checkpoint 2".to_owned(), "checkpoint 3".to_owned()].as_slice())
        );
        assert!(damage.what.starts_with(starts), "{damage:?}");
        assert_eq!(found.intact, ["checkpoint 1", "savepoint before"]);
        assert_eq!(found.broken, ["checkpoint 3", "checkpoint 2"]);
        assert!(found.render().contains("BROKEN   checkpoint 3, checkpoint 2\n"), "{}", found.render());
    }
    let found = verified("savepoints/before/runs/g2/0/1.sst", Some(vec![0; 1000])).await;
    assert_eq!(found.broken, ["savepoint before"]);
    let found = verified("manifests/c0000000003-g2.json", Some(b"gone".to_vec())).await;
    assert_eq!(found.broken, ["checkpoint 3"]);
    let found = verified("journal/18446744073709551614.json", Some(b"gone".to_vec())).await;
    assert_eq!((found.broken.len(), found.damaged[0].object.as_str()), (0, "journal/18446744073709551614.json"));
}

#[tokio::test]
async fn a_manifest_under_anothers_name_is_no_manifest_of_the_checkpoint() {
    let foreign = super::fixture::manifest(2, ManifestKind::Checkpoint).encode();
    let found = verified("manifests/c0000000003-g2.json", Some(foreign)).await;
    assert_eq!(found.broken, ["checkpoint 3"]);
}

#[tokio::test]
async fn a_job_is_found_from_above_and_a_savepoint_by_its_own_place() {
    let (store, root) = job().await;
    let above = JobRoot { store: std::sync::Arc::new(store.clone()), uri: "memory:".to_owned() };
    let Found::Job(found) = find(above).await.unwrap() else { panic!("no job") };
    assert_eq!(found.uri, root.uri);
    let savepoint = weir_storage::prefixed(root.store.clone(), "savepoints/before");
    let Found::Savepoint(found) = find(JobRoot { store: savepoint, uri: "memory:/s".to_owned() }).await.unwrap() else {
        panic!("no savepoint")
    };
    assert_eq!(read_savepoint(&found).await.unwrap().checkpoint, CheckpointId(2));
    assert_eq!(
        Found::Savepoint(found).into_job("journal").unwrap_err().to_string(),
        "memory:/s is a savepoint, not a job: it has no journal"
    );
}

/// What is said about a place that holds `keys`.
async fn refused(keys: &[&str]) -> String {
    let store = MemoryStore::new();
    for key in keys {
        store.overwrite(key, "x");
    }
    chain(&find(JobRoot { store: std::sync::Arc::new(store), uri: "memory:".to_owned() }).await.unwrap_err())
}

#[tokio::test]
async fn a_place_without_a_job_lists_what_is_there() {
    assert_eq!(refused(&[]).await, "memory: holds no Weir job: it is empty, or does not exist");
    assert_eq!(
        refused(&["a/1", "a/2", "b.txt", "journal/1.json"]).await,
        "memory: holds no Weir job: there is a/ (2 objects), b.txt, journal/"
    );
    let many: Vec<String> = (0..12).map(|index| format!("file-{index:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refused(&many).await.ends_with("file-07 and 4 more"));
}

#[tokio::test]
async fn several_jobs_below_a_place_are_told_apart() {
    let (store, _) = job().await;
    let entry = layout::journal_key(weir_protocol::Sequence(1));
    let copied = store.objects()[&format!("{PREFIX}/{entry}")].clone();
    store.overwrite(&format!("local/words/{entry}"), copied);
    let above = || JobRoot { store: std::sync::Arc::new(store.clone()), uri: "memory:".to_owned() };
    let Found::Jobs(roots) = find(above()).await.unwrap() else { panic!("not several") };
    assert_eq!(
        roots.iter().map(|root| root.uri.as_str()).collect::<Vec<_>>(),
        ["memory:/local/bids", "memory:/local/words"]
    );
    assert_eq!(
        find(above()).await.unwrap().into_job("journal").unwrap_err().to_string(),
        "memory:/local holds 2 jobs: name one of memory:/local/bids, memory:/local/words"
    );
}

#[tokio::test]
async fn a_store_that_says_no_is_quoted() {
    for kind in [StoreErrorKind::Unreachable, StoreErrorKind::Denied, StoreErrorKind::NoBucket] {
        let (store, root) = job().await;
        store.script(Operation::List, Fault::FailBefore(kind));
        let error = find(root).await.unwrap_err();
        let text = chain(&error);
        assert!(matches!(error, InspectError::Store { .. }), "{text}");
        assert!(text.starts_with("cannot read memory:/local/bids: list \"local/bids/journal/\" in memory:"), "{text}");
    }
}

#[tokio::test]
async fn places_that_are_none_are_refused_with_what_is_allowed() {
    let access = Access::default();
    let refusal = |place: &'static str| {
        let access = access.clone();
        async move { chain(&open(place, &access).await.map(drop).unwrap_err()) }
    };
    assert_eq!(
        refusal("no-such-directory").await,
        "found \"no-such-directory\"; allowed: file:///directory, s3://bucket/prefix, the path of a directory or of a manifest; \
         there is no such file or directory"
    );
    assert_eq!(
        refusal("ftp://x/y").await,
        "cannot open ftp://x/y: storage uri \"ftp://x/y\" is neither file:///path nor s3://bucket/prefix"
    );
}

#[tokio::test]
async fn a_manifest_that_was_retired_while_reading_is_read_anew() {
    let (store, root) = job().await;
    let key = format!("{PREFIX}/manifests/c0000000001-g2.json");
    weir_storage::ObjectStore::delete(&store, &[key]).await.unwrap();
    // The head that names it is still the newest: it is lost.
    let history = read_history(&root).await.unwrap();
    assert_eq!(history.checkpoints[0].manifest.as_ref().unwrap_err(), "manifests/c0000000001-g2.json: missing");
}

#[tokio::test]
async fn the_timeline_is_one_page_without_anything_from_elsewhere() {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    let page = timeline(&history, START + 45_000);
    for part in [
        "<h1>Checkpoints of bids</h1>",
        "id=\"c3\"",
        "count[1]\nasync: 41.5 ms, of it uploading: 23.0 ms",
        "took <b>46.0 ms</b>",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    for foreign in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("<svg").count(), 3);
    assert_eq!(page.matches("class=\"sync\"").count(), 12);
    if let Some(path) = std::env::var_os("WEIR_TIMELINE") {
        std::fs::write(path, page).unwrap();
    }
}

fn report(samples: Vec<Sample>, taken: Vec<TakenCheckpoint>) -> Report {
    Report {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        name: "bids".to_owned(),
        job: "bids".to_owned(),
        storage: "memory:".to_owned(),
        parallelism: 1,
        outcome: Ending::Finished,
        error: None,
        job_id: "0123abcd".to_owned(),
        generation: 2,
        restored_from: None,
        started_at: START,
        ended_at: START + 30_000,
        wall_seconds: 30.0,
        cpu_seconds: 30.0,
        peak_rss_bytes: 1 << 20,
        records_in: samples.iter().map(|sample| sample.records_in).sum(),
        records_out: 0,
        operators: Default::default(),
        checkpoints: CheckpointsReport { completed: taken.len() as u64, taken, ..CheckpointsReport::default() },
        restarts: Vec::new(),
        samples,
    }
}

/// Thirty seconds in samples of 200 ms at 1000 records per second, `slower` while a checkpoint is under way.
fn run(slower: f64) -> Report {
    let taken: Vec<_> = (1..=3)
        .map(|id| TakenCheckpoint {
            id,
            completed_at: START + 10_000 * id as i64 - 8_000,
            duration_ms: 2_000,
            bytes_full: 0,
            bytes_incremental: 1 << 20,
        })
        .collect();
    let under_way = |at: i64| taken.iter().any(|one| (one.completed_at - 2_000..one.completed_at).contains(&at));
    let samples = (0..150).map(|index| {
        let from = START + 200 * index;
        let rate = if under_way(from) { 1000.0 * (1.0 - slower) } else { 1000.0 };
        Sample { from, to: from + 200, records_in: (rate * 0.2).round() as u64, records_out: 0 }
    });
    let samples = samples.collect();
    report(samples, taken)
}

#[tokio::test]
async fn the_measured_slowdown_is_found_again() {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    for slower in [0.0, 0.1, 0.5] {
        let impact = impact(&run(slower), &history, None);
        // Two of ten seconds in a checkpoint, without the first and the last sample.
        let expected = slower * 0.2;
        assert!((impact.measured.unwrap() - expected).abs() < 0.005, "{slower}: {impact:?}");
        assert!((impact.rate_without.unwrap() - 1000.0).abs() < 1.0, "{slower}: {impact:?}");
    }
}

#[tokio::test]
async fn the_model_is_its_formula() {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    let impact = impact(&run(0.1), &history, Some(&run(0.0)));
    let throughput = f64::from(1 << 20) / 0.023;
    let model = (2.0 / 10.0) * ((f64::from(1 << 20) / 2.0) / throughput);
    assert!((impact.model.unwrap() - model).abs() < 1e-9, "{impact:?}");
    assert!((impact.against_baseline.unwrap() - 0.02).abs() < 1e-3, "{impact:?}");
    let text = impact.render();
    assert!(text.contains("  slowdown          20 % x 1.2 % = 0.23 %\n"), "{text}");
}

#[tokio::test]
async fn what_a_short_run_does_not_tell_is_not_made_up() {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    let impact = impact(&report(Vec::new(), Vec::new()), &history, None);
    assert_eq!((impact.model, impact.measured), (None, None));
    assert!(impact.render().contains("not known"));
}

#[tokio::test]
async fn reports_are_json_that_is_read_back() {
    let (_, root) = job().await;
    let history = read_history(&root).await.unwrap();
    let inventory = read_inventory(&root).await.unwrap();
    let page: Value = serde_json::to_value(overview(&history, &[], &inventory, START)).unwrap();
    assert_eq!(page["checkpoints"][0]["id"], 3);
    assert_eq!(page["storage"]["unreferenced"]["bytes"], 77);
    let text = serde_json::to_string(&run(0.1)).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), run(0.1));
}
