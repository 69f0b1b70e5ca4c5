//! How people and parts reach the API server: kubeconfigs and clients.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use kube::{Client, Config};

use super::Plain;
use crate::identity::{self, ADMIN, Credential, User};
use crate::proxy::FaultProxy;

impl Plain {
    /// Writes a kubeconfig with a user's token into the run's folder and returns its path; it goes with the
    /// control plane.
    ///
    /// # Errors
    /// If the user is not in the token file, or the file cannot be written.
    pub fn kubeconfig(&self, user: User) -> Result<PathBuf> {
        self.kubeconfig_with_token(&user.name.replace(':', "-"), self.tokens.of(user)?)
    }

    /// The same through `proxy`.
    ///
    /// # Errors
    /// As [`Plain::kubeconfig`].
    pub fn kubeconfig_through(&self, proxy: &FaultProxy, user: User) -> Result<PathBuf> {
        let credential = Credential::Token(self.tokens.of(user)?.to_owned());
        let server = format!("https://{}", proxy.address());
        self.kubeconfig_of(&proxy.address().port().to_string(), &server, &credential)
    }

    /// The same for any user and groups at all, by impersonation.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn kubeconfig_as(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let token = self.tokens.of(ADMIN)?.to_owned();
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        let credential = Credential::Impersonate { token, user: user.to_owned(), groups };
        self.kubeconfig_of(&format!("as-{user}"), &self.server(), &credential)
    }

    /// The same for whoever holds `token`, such as a pod's ServiceAccount. `name` is the file's.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.kubeconfig_of(name, &self.server(), &Credential::Token(token.to_owned()))
    }

    fn kubeconfig_of(&self, name: &str, server: &str, credential: &Credential) -> Result<PathBuf> {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let text = serde_yaml::to_string(&identity::kubeconfig(server, &self.ca_pem, credential, "default"))?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// A user's client configuration, to be changed before a client is made of it.
    ///
    /// # Errors
    /// If the user is not in the token file.
    pub async fn config(&self, user: User) -> Result<Config> {
        self.config_at(&self.server(), &Credential::Token(self.tokens.of(user)?.to_owned())).await
    }

    /// A user's client.
    ///
    /// # Errors
    /// If the user is not in the token file.
    pub async fn client(&self, user: User) -> Result<Client> {
        Ok(Client::try_from(self.config(user).await?)?)
    }

    /// The client configuration of any user and groups at all, by impersonation.
    ///
    /// # Errors
    /// If a client cannot be made.
    pub async fn config_as(&self, user: &str, groups: &[&str]) -> Result<Config> {
        let token = self.tokens.of(ADMIN)?.to_owned();
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        self.config_at(&self.server(), &Credential::Impersonate { token, user: user.to_owned(), groups }).await
    }

    /// The client configuration of whoever holds `token`, such as a ServiceAccount.
    ///
    /// # Errors
    /// If a client cannot be made.
    pub async fn config_with_token(&self, token: &str) -> Result<Config> {
        self.config_at(&self.server(), &Credential::Token(token.to_owned())).await
    }

    /// A user's client configuration that goes through `proxy`.
    ///
    /// # Errors
    /// If the user is not in the token file.
    pub async fn config_through(&self, proxy: &FaultProxy, user: User) -> Result<Config> {
        let credential = Credential::Token(self.tokens.of(user)?.to_owned());
        self.config_at(&format!("https://{}", proxy.address()), &credential).await
    }

    /// A user's client that goes through `proxy`.
    ///
    /// # Errors
    /// If the user is not in the token file.
    pub async fn client_through(&self, proxy: &FaultProxy, user: User) -> Result<Client> {
        Ok(Client::try_from(self.config_through(proxy, user).await?)?)
    }

    async fn config_at(&self, server: &str, credential: &Credential) -> Result<Config> {
        identity::client_config(identity::kubeconfig(server, &self.ca_pem, credential, "default")).await
    }
}
