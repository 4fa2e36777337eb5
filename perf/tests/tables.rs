//! The comparison of flow tables measures what it says: it checks every answer, and fails where one is wrong.

#![cfg(feature = "dpdk-benches")]

use std::process::Command;

#[test]
fn every_table_answers_and_is_reported() {
    let output = Command::new(env!("CARGO_BIN_EXE_afr-tables"))
        .args([
            "--flows",
            "4096",
            "--passes",
            "1",
            "--no-huge",
            "--json",
            "--cpu",
            "0",
        ])
        // It leaves its result there.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["dpdk_huge_pages"], false);
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["table"].as_str().unwrap())
        .collect();
    let all = [
        "afr",
        "hashbrown",
        "rte_hash",
        "rte_hash-2x",
        "rte_hash-2x-fold",
    ];
    assert_eq!(names, all);
    for row in rows {
        assert_eq!(row["flows"], 4_096);
        // A key and a state are 61 bytes.
        let bytes = row["bytes_per_flow"].as_f64().unwrap();
        assert!((64.0..400.0).contains(&bytes), "{row}");
        for figure in ["hit", "miss", "insert"] {
            assert!(row[figure]["best_ns"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
}
