//! Reading Prometheus: transport, decoding, poll loop, backfill.
