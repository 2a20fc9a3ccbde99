//! One statement in the words of both databases.

/// The same statement for SQLite and PostgreSQL; both take parameters as `$1`.
#[derive(Clone, Copy)]
pub(crate) struct Statement {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// Puts a statement together from literals, and from words for what the databases spell differently.
macro_rules! statement {
    ($($part:tt)*) => {
        $crate::statement::Statement {
            sqlite: concat!($($crate::statement::part!(sqlite $part)),*),
            postgres: concat!($($crate::statement::part!(postgres $part)),*),
        }
    };
}

macro_rules! part {
    // The database's own time in milliseconds: relays on several machines go by one clock.
    (sqlite now) => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
    (postgres now) => {
        "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)"
    };
    // The numbers of a JSON array that is the first parameter.
    (sqlite ids) => {
        "(SELECT value FROM json_each($1))"
    };
    (postgres ids) => {
        "(SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS json)))"
    };
    // The texts of a JSON array that is the third parameter.
    (sqlite texts) => {
        "(SELECT value FROM json_each($3))"
    };
    (postgres texts) => {
        "(SELECT value FROM json_array_elements_text(CAST($3 AS json)))"
    };
    ($_:ident $text:literal) => {
        $text
    };
}

/// Runs a statement on a connection of either database, and gives how many rows it touched.
macro_rules! execute {
    ($connection:expr, $statement:expr $(, $bind:expr)* $(,)?) => {
        match $connection {
            $crate::Connection::Sqlite(connection) => {
                let query = sqlx::query($statement.sqlite)$(.bind($bind))*;
                query.execute(&mut *connection).await.map(|done| done.rows_affected())
            }
            $crate::Connection::Postgres(connection) => {
                let query = sqlx::query($statement.postgres)$(.bind($bind))*;
                query.execute(&mut *connection).await.map(|done| done.rows_affected())
            }
        }
    };
}

/// Runs a query on a connection of either database by a method such as `fetch_all`, with rows of the tuple `$row`.
macro_rules! query {
    ($method:ident, $row:ty, $connection:expr, $statement:expr $(, $bind:expr)* $(,)?) => {
        match $connection {
            $crate::Connection::Sqlite(connection) => {
                sqlx::query_as::<_, $row>($statement.sqlite)$(.bind($bind))*.$method(&mut *connection).await
            }
            $crate::Connection::Postgres(connection) => {
                sqlx::query_as::<_, $row>($statement.postgres)$(.bind($bind))*.$method(&mut *connection).await
            }
        }
    };
}

pub(crate) use {execute, part, query, statement};

#[cfg(test)]
mod tests {
    use super::Statement;

    #[test]
    fn each_database_gets_its_own_words() {
        const AGED: Statement = statement!("DELETE FROM t WHERE seq IN " ids " AND created < " now " - $2");
        assert_eq!(
            AGED.sqlite,
            "DELETE FROM t WHERE seq IN (SELECT value FROM json_each($1)) AND created < \
             CAST(unixepoch('subsec') * 1000 AS INTEGER) - $2"
        );
        assert!(AGED.postgres.contains("json_array_elements_text") && AGED.postgres.contains("statement_timestamp()"));
    }
}
