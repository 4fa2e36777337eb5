//! How long a step of the engine takes: the fit published with Dynamo's mocker (Apache-2.0).

/// Milliseconds to prefill `tokens` uncached tokens in one batch; 0 for none.
#[must_use]
pub fn prefill_ms(tokens: u32) -> f64 {
    if tokens == 0 {
        return 0.0;
    }
    let n = f64::from(tokens);
    4.209989e-7 * n * n + 1.518344e-2 * n + 16.50142
}

/// Milliseconds to decode one token of every sequence of the batch, `active` being the fraction of the KV store in use.
#[must_use]
pub fn decode_ms(active: f64) -> f64 {
    (-25.74 * active * active + 54.01 * active + 5.74).max(1.0)
}

/// Tokens prefilled per second in full batches of `batch_tokens`.
#[must_use]
pub fn prefill_rate_tokens_s(batch_tokens: u32) -> f64 {
    f64::from(batch_tokens) * 1_000.0 / prefill_ms(batch_tokens).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_fit() {
        assert!((prefill_ms(8192) - 169.13).abs() < 0.01);
        assert_eq!(prefill_ms(0), 0.0);
        assert!((decode_ms(0.0) - 5.74).abs() < 1e-9);
        assert!((decode_ms(1.0) - 34.01).abs() < 1e-9);
        assert!((prefill_rate_tokens_s(8192) - 48_435.0).abs() < 10.0);
    }
}
