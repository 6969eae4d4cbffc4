//! The write side of accounts. A key's row refers to its account's row, so a changed account appears on all its keys.

use super::SqlStore;
use crate::account::Account;
use crate::future::StoreFuture;
use crate::name::AccountId;
use crate::sql::Statement;
use crate::store::encoding;
use crate::store::{AccountAdmin, Replaced};

impl AccountAdmin for SqlStore {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        let statement = Statement::new(
            "INSERT INTO tollgate_accounts (id, version, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        );
        let statement = statement.with(account.id.as_str()).with(account.version.cast_signed());
        let statement = statement.with(encoding::encode_account(account));
        self.ask(async move |database| Ok(database.change(statement).await? > 0))
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        let (was, mut changed) = (account.version, account.clone());
        changed.version += 1;
        self.ask(async move |database| {
            let statement = Statement::new(
                "UPDATE tollgate_accounts SET version = $3, record = $4 WHERE id = $1 AND version = $2",
            );
            let statement = statement.with(changed.id.as_str()).with(was.cast_signed());
            let statement =
                statement.with(changed.version.cast_signed()).with(encoding::encode_account(&changed));
            if database.change(statement).await? > 0 {
                return Ok(Replaced::Done);
            }
            let there =
                Statement::new("SELECT 1 FROM tollgate_accounts WHERE id = $1").with(changed.id.as_str());
            Ok(if database.reader().await?.row(there).await?.is_some() {
                Replaced::Stale
            } else {
                Replaced::Gone
            })
        })
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        let statement = Statement::new("DELETE FROM tollgate_accounts WHERE id = $1").with(id.as_str());
        self.ask(async move |database| {
            let erased = database.change(statement).await? > 0;
            database.wipe().await;
            Ok(erased)
        })
    }
}
