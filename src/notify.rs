//! Alerts out: Alertmanager and webhooks.
