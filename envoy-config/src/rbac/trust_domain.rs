//! Trust domain aliases, applied to what was written before it becomes a matcher.

/// The mesh's trust domain and its other names, own first.
pub(super) struct TrustDomains<'s>(pub(super) Vec<&'s str>);

impl TrustDomains<'_> {
    /// The principals that these stand for, in order.
    ///
    /// Istio looks only at the form `TD/ns/NS/sa/SA`, not at a TD of `*`, and takes `cluster.local` for the
    /// mesh's own trust domain whatever that is called.
    pub(super) fn principals(&self, written: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        for principal in written {
            match self.of_mesh(principal) {
                None => push_new(&mut all, principal.clone()),
                Some((own, rest)) => {
                    for name in &self.0 {
                        let covered = own.strip_prefix('*').is_some_and(|end| name.ends_with(end));
                        push_new(
                            &mut all,
                            if covered {
                                principal.clone()
                            } else {
                                format!("{name}{rest}")
                            },
                        );
                    }
                }
            }
        }
        all
    }

    /// The trust domains that these stand for: one of the mesh's names stands for all of them.
    pub(super) fn trust_domains(&self, written: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        for domain in written {
            push_new(&mut all, domain.clone());
            if self.0.contains(&domain.as_str()) {
                for name in &self.0 {
                    push_new(&mut all, (*name).to_owned());
                }
            }
        }
        all
    }

    /// Trust domain, and the rest from its slash on, of a principal that aliases apply to.
    fn of_mesh<'w>(&self, principal: &'w str) -> Option<(&'w str, &'w str)> {
        let (own, rest) = principal.split_at_checked(principal.find('/')?)?;
        let applies = own == "cluster.local"
            || self.0.iter().any(|name| {
                let ends = |pattern: &str, text: &str| {
                    let after = pattern.strip_suffix('*');
                    let before = pattern.strip_prefix('*');
                    after.is_some_and(|start| text.starts_with(start))
                        || before.is_some_and(|end| text.ends_with(end))
                };
                own == *name || ends(own, name) || ends(name, own)
            });
        (applies && own != "*" && principal.split('/').count() == 5).then_some((own, rest))
    }
}

fn push_new(all: &mut Vec<String>, value: String) {
    if !all.contains(&value) {
        all.push(value);
    }
}
