//! The shop: its table, and what it does when it is asked.

use pubsub::{
    Emitter, Failure, FailureCode, HandlerError, Router, State, User,
    sql::{
        Connection, Tx,
        sqlx::{self, Sqlite, SqlitePool},
    },
};

use crate::events::{ListOrders, OrderPlaced, Orders, PlaceOrder};

/// What there is to be had, and its price.
const PRICES: [(&str, i64); 4] = [("book", 1250), ("lamp", 4900), ("pen", 120), ("stool", 8900)];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY AUTOINCREMENT, \
                     customer TEXT NOT NULL, item TEXT NOT NULL, quantity INTEGER NOT NULL, cents INTEGER NOT NULL)";

/// A row of the table.
type Row = (i64, String, String, i64, i64);

#[derive(Clone)]
pub(crate) struct Shop {
    pool: SqlitePool,
}

impl Shop {
    pub(crate) async fn open(pool: SqlitePool) -> Result<Self, sqlx::Error> {
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// The orders of a customer, or of all of them.
    pub(crate) async fn orders(&self, customer: Option<&str>) -> Result<Orders, sqlx::Error> {
        let all = "SELECT number, customer, item, quantity, cents FROM orders WHERE $1 IS NULL OR customer = $1 ORDER BY number";
        let rows: Vec<Row> = sqlx::query_as(all).bind(customer).fetch_all(&self.pool).await?;
        Ok(Orders { orders: rows.into_iter().map(order).collect() })
    }

    /// One of them.
    pub(crate) async fn order(&self, number: i64, customer: Option<&str>) -> Result<Option<OrderPlaced>, sqlx::Error> {
        let one = "SELECT number, customer, item, quantity, cents FROM orders \
                   WHERE number = $1 AND ($2 IS NULL OR customer = $2)";
        let row: Option<Row> = sqlx::query_as(one).bind(number).bind(customer).fetch_optional(&self.pool).await?;
        Ok(row.map(order))
    }
}

fn order((number, customer, item, quantity, cents): Row) -> OrderPlaced {
    OrderPlaced { number, customer, item, quantity, cents }
}

/// What runs for the requests of customers.
pub(crate) fn actions(shop: Shop) -> Router {
    // The broker may be away when the shop opens: the web edge needs none to have an order written down.
    Router::new().group("shop").concurrency(8).action(place).action(list).start_degraded().with_state(shop)
}

/// The row, the event that tells of it and the answer are one commit: whatever happens to this process, a customer who asks
/// again with the same id has one order, and everybody hears of it once.
async fn place(wanted: PlaceOrder, User(customer): User, tx: Tx, emit: Emitter) -> Result<OrderPlaced, HandlerError> {
    let PlaceOrder { item, quantity } = wanted;
    let Some((_, price)) = PRICES.iter().find(|(name, _)| *name == item) else {
        let text = format!("there is no `{item}` to be had");
        return Err(Failure::new(FailureCode::UnprocessableContent, text).into());
    };
    let cents = price * quantity;
    let mut tx = tx.begin().await?;
    let Connection::Sqlite(connection) = tx.connection() else {
        return Err(HandlerError::give_up("this shop keeps its books in SQLite"));
    };
    let insert = sqlx::query_scalar::<Sqlite, i64>(
        "INSERT INTO orders (customer, item, quantity, cents) VALUES ($1, $2, $3, $4) RETURNING number",
    );
    let number = insert.bind(&customer).bind(&item).bind(quantity).bind(cents).fetch_one(connection).await?;
    let placed = OrderPlaced { number, customer, item, quantity, cents };
    emit.emit(&placed)?;
    Ok(placed)
}

/// By tRPC customers, and the desk too, see their own; the books of all are a matter of `GET /orders`.
async fn list(_: ListOrders, User(customer): User, State(shop): State<Shop>) -> Result<Orders, HandlerError> {
    Ok(shop.orders(Some(&customer)).await?)
}
