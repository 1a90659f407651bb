package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"regexp"
	"sync/atomic"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// maxPrepared is how many statements a connection keeps prepared: the server holds a plan of each.
const maxPrepared = 100

// statements prepares what connections send more than once, so that PostgreSQL parses and plans it
// once for each connection. Its counters are of all connections.
type statements struct {
	log      *slog.Logger
	off      atomic.Bool
	sent     atomic.Int64 // round trips with a statement
	prepared atomic.Int64 // of them, those of a prepared statement
}

// readsPartitions matches statements that are not prepared: they are planned for their values,
// since a plan for any value would have every partition in it.
var readsPartitions = regexp.MustCompile(`(?i)\b(FROM|JOIN)\s+sensor_data\b`)

// isSingle matches texts that are one statement without parameters.
var isSingle = regexp.MustCompile(`^\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b[^;]*$`)

// connector returns a connector whose connections prepare statements.
func (s *statements) connector(c *pq.Connector) driver.Connector {
	return preparingConnector{Connector: c, statements: s}
}

type preparingConnector struct {
	*pq.Connector
	statements *statements
}

// Connect implements driver.Connector.
func (c preparingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner, ok := conn.(pqConn)
	if !ok {
		return nil, errors.Join(errors.New("the driver lacks a method"), conn.Close())
	}
	p := &preparingConn{
		pqConn:     inner,
		statements: c.statements,
		known:      map[string]*knownStatement{},
	}
	return p, nil
}

// pqConn is what database/sql uses of a connection of lib/pq.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// preparingConn is a connection that prepares a statement when it is sent for the second time.
type preparingConn struct {
	pqConn
	statements *statements
	known      map[string]*knownStatement // by text
	sent       int64
	broken     bool
}

// knownStatement is a text that was sent, and its prepared statement after the second time.
type knownStatement struct {
	stmt     preparedStatement
	lastSent int64
	unfit    bool // not to be prepared
}

type preparedStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// BeginTx implements driver.ConnBeginTx.
func (c *preparingConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.statements.sent.Add(1)
	tx, err := c.pqConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return countedTx{tx, c.statements}, nil
}

// countedTx counts the end of a transaction.
type countedTx struct {
	driver.Tx
	statements *statements
}

func (t countedTx) Commit() error {
	t.statements.sent.Add(1)
	return t.Tx.Commit()
}

// QueryContext implements driver.QueryerContext.
func (c *preparingConn) QueryContext(
	ctx context.Context, query string, args []driver.NamedValue,
) (driver.Rows, error) {
	stmt, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return c.pqConn.QueryContext(ctx, query, args)
	}
	rows, err := stmt.QueryContext(ctx, args)
	return rows, c.check(ctx, err)
}

// ExecContext implements driver.ExecerContext.
func (c *preparingConn) ExecContext(
	ctx context.Context, query string, args []driver.NamedValue,
) (driver.Result, error) {
	stmt, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return c.pqConn.ExecContext(ctx, query, args)
	}
	result, err := stmt.ExecContext(ctx, args)
	return result, c.check(ctx, err)
}

// IsValid implements driver.Validator.
func (c *preparingConn) IsValid() bool { return !c.broken && c.pqConn.IsValid() }

// statement returns the prepared statement of query, or nil if it is sent as it is.
func (c *preparingConn) statement(
	ctx context.Context, query string, args []driver.NamedValue,
) (preparedStatement, error) {
	c.statements.sent.Add(1)
	c.sent++
	if c.statements.off.Load() {
		return nil, nil
	}
	k := c.known[query]
	switch {
	case k == nil:
		if len(c.known) >= maxPrepared {
			if err := c.forgetOldest(); err != nil {
				return nil, err
			}
		}
		fit := len(args) > 0 || isSingle.MatchString(query)
		k = &knownStatement{unfit: !fit || readsPartitions.MatchString(query)}
		c.known[query] = k
	case k.stmt == nil && !k.unfit:
		stmt, err := c.PrepareContext(ctx, query)
		if err != nil {
			return nil, c.check(ctx, err)
		}
		if k.stmt, _ = stmt.(preparedStatement); k.stmt == nil {
			k.unfit = true // what COPY gives
			return nil, stmt.Close()
		}
	}
	k.lastSent = c.sent
	if k.stmt != nil {
		c.statements.prepared.Add(1)
	}
	return k.stmt, nil
}

// forgetOldest forgets the text that was not sent for the longest time, one that is not prepared
// before others.
func (c *preparingConn) forgetOldest() error {
	var oldest string
	var of *knownStatement
	for text, k := range c.known {
		if of == nil || of.stmt != nil && k.stmt == nil ||
			(of.stmt == nil) == (k.stmt == nil) && k.lastSent < of.lastSent {
			oldest, of = text, k
		}
	}
	delete(c.known, oldest)
	if of.stmt == nil {
		return nil
	}
	return of.stmt.Close()
}

// switchOff has no more statements prepared.
func (s *statements) switchOff(ctx context.Context, reason string) {
	if !s.off.Swap(true) {
		s.log.WarnContext(ctx, "prepared statements switched off",
			"reason", reason,
			"hint", "a connection pooler in transaction mode cannot keep them: "+
				"set OEI_STORE_PREPARED_STATEMENTS=false, or connect to PostgreSQL directly")
	}
}

// check turns the error of a statement whose plan does not fit the schema any more, or that the
// server does not know, into one of the connection: it is replaced, and outside of a transaction
// database/sql sends the statement again.
func (c *preparingConn) check(ctx context.Context, err error) error {
	var pqErr *pq.Error
	if !errors.As(err, &pqErr) {
		return err
	}
	switch {
	case pqErr.Code == pqerror.FeatureNotSupported && pqErr.Routine == "RevalidateCachedQuery":
	case pqErr.Code == pqerror.InvalidSQLStatementName,
		pqErr.Code == pqerror.DuplicatePstatement:
		c.statements.switchOff(ctx, err.Error())
	default:
		return err
	}
	c.broken = true
	return driver.ErrBadConn
}
