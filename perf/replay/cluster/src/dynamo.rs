//! Dynamo's own routers, composed by Dynamo: nothing of them is ours but the workload.

use afr_replay::workload::Workload;
use anyhow::Result;
use dynamo_mocker::common::protocols::MockerConfig;
use dynamo_mocker::replay::{
    ReplayRouterMode, SlaThresholds, simulate_loaded_trace_with_router_mode_and_capture_options,
    with_kv_event_lag_ms,
};
use serde_json::json;

use crate::simulate::{BLOCK_TOKENS, ClusterSize, Outcome, capture, served, tally, trace};

/// Runs a workload under one of Dynamo's routers with its defaults; KV events reach it `lag_ms` late.
pub(crate) fn run(
    workload: &Workload,
    size: ClusterSize,
    mode: ReplayRouterMode,
    lag_ms: f64,
) -> Result<Outcome> {
    let config = MockerConfig::from_value(json!({
        "engine": {"num_gpu_blocks": size.kv_blocks, "block_size": BLOCK_TOKENS},
    }))?;
    let report = with_kv_event_lag_ms(lag_ms, || {
        simulate_loaded_trace_with_router_mode_and_capture_options(
            config,
            None,
            None,
            trace(workload, false),
            size.instances,
            1.0,
            mode,
            capture(),
            None,
            SlaThresholds::default(),
        )
    })??;
    Ok((served(&report)?, tally(&report), Vec::new()))
}
