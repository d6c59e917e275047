//! PostgreSQL: a row that is locked for the length of a transaction, an advisory lock of a session, and two ways that take
//! no lock: a version that is compared, and one statement that says it all.

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_postgres::{Client, NoTls, Statement};

use super::{Contender, Sale};
use crate::{kit::Result, system::Way};

const TABLES: &str = "\
    CREATE TABLE IF NOT EXISTS locks (name text PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS stock (id int PRIMARY KEY, amount bigint NOT NULL, version bigint NOT NULL);
    INSERT INTO stock VALUES (1, 0, 0) ON CONFLICT DO NOTHING;";

const NO_LOCK: &str = "this way takes no lock";

pub(super) struct Postgres {
    client: Client,
    way: Way,
    /// Comes when the connection ends, and with it all that it holds.
    ended: oneshot::Receiver<()>,
    held: Option<String>,
    statements: Statements,
}

struct Statements {
    row: Statement,
    advisory: Statement,
    advisory_end: Statement,
    read: Statement,
    read_for_update: Statement,
    write: Statement,
    compare_and_set: Statement,
    one_less: Statement,
}

/// A client, and what comes when its connection ends.
async fn open(address: &str) -> Result<(Client, oneshot::Receiver<()>)> {
    let (host, port) = address.split_once(':').ok_or("an address has a port")?;
    let settings = format!("host={host} port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&settings, NoTls).await?;
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        // Whatever the reason, it is over.
        let _ = connection.await;
        let _ = end.send(());
    });
    Ok((client, ended))
}

pub(super) async fn make_tables(address: &str) -> Result<()> {
    let (client, _) = open(address).await?;
    Ok(client.batch_execute(TABLES).await?)
}

impl Postgres {
    pub(super) async fn connect(address: &str, way: Way) -> Result<Self> {
        let (client, ended) = open(address).await?;
        let statements = Statements {
            row: client
                .prepare("SELECT 1 FROM locks WHERE name = $1 FOR UPDATE")
                .await?,
            advisory: client
                .prepare("SELECT pg_advisory_lock(hashtextextended($1, 0))")
                .await?,
            advisory_end: client
                .prepare("SELECT pg_advisory_unlock(hashtextextended($1, 0))")
                .await?,
            read: client
                .prepare("SELECT amount, version FROM stock WHERE id = 1")
                .await?,
            read_for_update: client
                .prepare("SELECT amount FROM stock WHERE id = 1 FOR UPDATE")
                .await?,
            write: client
                .prepare("UPDATE stock SET amount = $1 WHERE id = 1")
                .await?,
            compare_and_set: client
                .prepare(
                    "UPDATE stock SET amount = $1, version = version + 1 WHERE id = 1 AND version = $2",
                )
                .await?,
            one_less: client
                .prepare("UPDATE stock SET amount = amount - 1 WHERE id = 1 AND amount > 0")
                .await?,
        };
        Ok(Self {
            client,
            way,
            ended,
            held: None,
            statements,
        })
    }

    /// The sale's own row is the lock.
    async fn sell_by_row(&self) -> Result<Sale> {
        let (client, statements) = (&self.client, &self.statements);
        // Sent together, as those of `lock`.
        let (begun, row) = tokio::join!(
            client.batch_execute("BEGIN"),
            client.query_one(&statements.read_for_update, &[])
        );
        begun?;
        let left: i64 = row?.try_get(0)?;
        if left > 0 {
            client.execute(&statements.write, &[&(left - 1)]).await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok(Sale {
            sold: left > 0,
            again: 0,
        })
    }

    async fn sell_by_version(&self) -> Result<Sale> {
        let mut again = 0;
        loop {
            let row = self.client.query_one(&self.statements.read, &[]).await?;
            let (left, version): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            if left == 0 {
                return Ok(Sale { sold: false, again });
            }
            let statement = &self.statements.compare_and_set;
            let changed = self
                .client
                .execute(statement, &[&(left - 1), &version])
                .await?;
            if changed == 1 {
                return Ok(Sale { sold: true, again });
            }
            again += 1;
        }
    }

    async fn sell_by_one_statement(&self) -> Result<Sale> {
        let statement = &self.statements.one_less;
        let changed = self.client.execute(statement, &[]).await?;
        Ok(Sale {
            sold: changed == 1,
            again: 0,
        })
    }
}

#[async_trait]
impl Contender for Postgres {
    async fn lock(&mut self, name: &str) -> Result<()> {
        match self.way {
            Way::Row => {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&name];
                let lock = || self.client.query_opt(&self.statements.row, &parameters);
                let (begun, row) = tokio::join!(self.client.batch_execute("BEGIN"), lock());
                begun?;
                if row?.is_none() {
                    // A name is made once, outside of the transaction that locks it.
                    self.client.batch_execute("ROLLBACK").await?;
                    let make = "INSERT INTO locks VALUES ($1) ON CONFLICT DO NOTHING";
                    self.client.execute(make, &parameters).await?;
                    self.client.batch_execute("BEGIN").await?;
                    lock().await?.ok_or("the row of the lock is gone")?;
                }
            }
            Way::Advisory => {
                self.client
                    .execute(&self.statements.advisory, &[&name])
                    .await?;
            }
            Way::Version | Way::OneStatement => return Err(NO_LOCK.into()),
        }
        self.held = Some(name.to_owned());
        Ok(())
    }

    async fn unlock(&mut self) -> Result<()> {
        let name = self.held.take().ok_or("it holds nothing")?;
        match self.way {
            Way::Row => self.client.batch_execute("COMMIT").await?,
            Way::Advisory => {
                let statement = &self.statements.advisory_end;
                let row = self.client.query_one(statement, &[&name]).await?;
                if !row.try_get::<_, bool>(0)? {
                    return Err("the lock was not held any more".into());
                }
            }
            Way::Version | Way::OneStatement => return Err(NO_LOCK.into()),
        }
        Ok(())
    }

    async fn lost(&mut self) {
        // It has no other end than a message or the end of its sender, and both mean the same.
        let _ = (&mut self.ended).await;
    }

    async fn stock(&mut self) -> Result<u64> {
        let row = self.client.query_one(&self.statements.read, &[]).await?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }

    async fn set_stock(&mut self, left: u64) -> Result<()> {
        let left = i64::try_from(left)?;
        self.client
            .execute(&self.statements.write, &[&left])
            .await?;
        Ok(())
    }

    async fn sell(&mut self) -> Result<Sale> {
        match self.way {
            Way::Row => self.sell_by_row().await,
            Way::Version => self.sell_by_version().await,
            Way::OneStatement => self.sell_by_one_statement().await,
            Way::Advisory => super::sell_under_lock(self).await,
        }
    }

    fn is_over(&self) -> bool {
        self.client.is_closed()
    }
}
