//! The databases of the tests: a SQLite file, or a PostgreSQL server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tollgate::sql::{Database, DatabaseOptions};

use crate::services::postgres::Postgres;
use crate::services::scratch;

/// An empty database of a test's own.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) url: String,
    folder: Option<PathBuf>,
    server: Option<Arc<Postgres>>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = scratch("sqlite");
        Self {
            url: format!("sqlite:{}", folder.join("gate.db").display()),
            folder: Some(folder),
            server: None,
        }
    }

    pub(crate) fn postgres() -> Option<Self> {
        let server = Postgres::shared()?;
        Some(Self { url: server.database(), folder: None, server: Some(server) })
    }

    /// The database opened, as one more node does.
    pub(crate) async fn open(&self) -> Database {
        // Many tests share two cores: waiting is no fault here.
        let patient = Duration::from_mins(1);
        let options = DatabaseOptions::new(&self.url).unwrap();
        options.with_acquire_timeout(patient).with_statement_timeout(patient).open().await.unwrap()
    }

    /// Says something to the database behind the crate's back; its answer has columns apart by `|`, and a line each row.
    pub(crate) async fn say(&self, words: &str) -> String {
        match &self.server {
            Some(server) => server.say(self.url.rsplit('/').next().unwrap(), words),
            None => to_file(&self.url, words).await,
        }
    }

    pub(crate) fn server(&self) -> Option<&Postgres> {
        self.server.as_deref()
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.server.is_some()
    }
}

async fn to_file(url: &str, words: &str) -> String {
    let options = url.parse::<SqliteConnectOptions>().unwrap().create_if_missing(true);
    let mut connection = options.busy_timeout(Duration::from_secs(30)).connect().await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(words)).fetch_all(&mut connection).await.unwrap();
    let text = |row: &SqliteRow, column| row.try_get_unchecked::<Option<String>, _>(column).unwrap();
    let line = |row: &SqliteRow| {
        let columns = (0..row.len()).map(|column| text(row, column).unwrap_or_default());
        columns.collect::<Vec<_>>().join("|")
    };
    let lines = rows.iter().map(line).collect::<Vec<_>>().join("\n");
    connection.close().await.unwrap();
    lines
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

/// Each of these runs over a SQLite file, and over PostgreSQL.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::database::Place::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(place) = crate::database::Place::postgres() {
                    super::$name(place).await;
                }
            })*
        }
    };
}
pub(crate) use both;
