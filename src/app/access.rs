//! Who may come in, read again with the rules: identities and the server's certificate.
//!
//! Deliberately absent: half of it. Identities come into force together with the rules that name them, or neither does.

use std::sync::Arc;

use crate::gate::Identities;
use crate::gate_service::GateService;
use crate::web::Tls;
use crate::web::auth::Authenticator;

/// Reads the identities again; an error is for people.
pub type ReadIdentities = Box<dyn Fn() -> Result<Identities, String> + Send + Sync>;

/// What lets people, robots and pipelines in.
pub struct Access {
    /// Where identities come from; `None` where they do not change.
    pub read: Option<ReadIdentities>,
    /// Tells who is asking.
    pub authenticator: Arc<Authenticator>,
    /// The server's certificate.
    pub tls: Option<Arc<Tls>>,
}

impl Access {
    /// Reads identities and certificate again. A new certificate is in force at once: it does not depend on rules.
    ///
    /// # Errors
    /// What cannot be used, for people.
    pub fn read_again(&self) -> Result<Option<Identities>, Vec<String>> {
        let mut faults = Vec::new();
        let identities = match self.read.as_ref().map(|read| read()) {
            Some(Ok(identities)) => Some(identities),
            Some(Err(fault)) => {
                faults.push(fault);
                None
            }
            None => None,
        };
        if let Some(Err(fault)) = self.tls.as_ref().map(|tls| tls.reload()) {
            faults.push(format!("{fault}; the certificate of before stays in use"));
        }
        if faults.is_empty() { Ok(identities) } else { Err(faults) }
    }

    /// These identities from now on, for those who ask and for the gate.
    pub fn take(&self, identities: Identities, gate_service: Option<&GateService>) {
        if let Some(gate_service) = gate_service {
            gate_service.take_identities(identities.clone());
        }
        self.authenticator.replace(identities);
    }
}
