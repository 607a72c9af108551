//! Who may come in, read again with the rules: identities and the server's certificate.
//!
//! Identities that can be read come into force whatever becomes of the rules: a credential that is revoked is revoked,
//! and a policy that asks for people who are gone lets nothing through. So is one that was taken out of a file which has a
//! mistake somewhere else.

use std::sync::Arc;

use crate::gate::Identities;
use crate::gate_service::GateService;
use crate::spec::identity::UnusableIdentities;
use crate::web::Tls;
use crate::web::auth::Authenticator;

/// Reads the identities again; an error is for people.
pub type ReadIdentities = Box<dyn Fn() -> Result<Identities, UnusableIdentities> + Send + Sync>;

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
    /// The identities, or what is left of those of before where they cannot be used, and what cannot, for people.
    pub fn read_again(&self) -> (Option<Identities>, Vec<String>) {
        let mut faults = Vec::new();
        let identities = match self.read.as_ref().map(|read| read()) {
            Some(Ok(identities)) => Some(identities),
            Some(Err(unusable)) => {
                let left = unusable.left_of(self.authenticator.identities());
                faults.push(unusable.why);
                Some(left)
            }
            None => None,
        };
        if let Some(Err(fault)) = self.tls.as_ref().map(|tls| tls.reload()) {
            faults.push(format!("{fault}; the certificate of before stays in use"));
        }
        (identities, faults)
    }

    /// These identities from now on, for those who ask and for the gate. `by` asked for it.
    pub fn take(&self, identities: Identities, gate_service: Option<&GateService>, by: &str) {
        self.authenticator.replace(identities.clone());
        if let Some(gate_service) = gate_service {
            gate_service.take_identities(identities, by);
        }
    }
}
