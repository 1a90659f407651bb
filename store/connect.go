package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// openPool opens a pool of connections whose statements end after timeout.
func openPool(
	dsn string, conns int, timeout time.Duration, params map[string]string, prepare *statements,
) (*sqlx.DB, error) {
	return openPoolUntil(context.Background(), dsn, conns, timeout, params, prepare)
}

// openPoolUntil is openPool for the time of ctx: soon after it ends, statements that still run
// fail, even within their timeout.
func openPoolUntil(
	ctx context.Context, dsn string, conns int, timeout time.Duration, params map[string]string,
	prepare *statements,
) (*sqlx.DB, error) {
	params["statement_timeout"] = fmt.Sprint(timeout.Milliseconds())
	// compiling a statement takes longer than running one of ours
	params["jit"] = "off"
	// an expensive statement must not occupy several processors
	params["max_parallel_workers_per_gather"] = "0"
	connector, err := connector(dsn, params)
	if err != nil {
		return nil, err
	}
	connector.Dialer(dialer{limit: timeout + answerMargin, life: ctx})
	db := sqlx.NewDb(sql.OpenDB(prepare.connector(connector)), "postgres")
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

// connector returns a connector for dsn whose sessions use UTC and send []byte in binary form,
// which saves a round trip for each statement and lets arrays be sent as they are encoded.
func connector(dsn string, params map[string]string) (*pq.Connector, error) {
	dsn, err := withTLS(dsn)
	if err != nil {
		return nil, err
	}
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	cfg.BinaryParameters = true
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	cfg.Runtime["timezone"] = "UTC"
	for k, v := range params {
		if k == "application_name" {
			cfg.ApplicationName = v
			continue
		}
		cfg.Runtime[k] = v
	}
	c, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	return c, nil
}

// connectError adds a remedy to an error of the first connection.
func connectError(err error) error {
	remedy := ""
	var pqErr *pq.Error
	switch {
	case errors.Is(err, pq.ErrSSLNotSupported):
		remedy = "the server has no TLS: on a trusted network add sslmode=disable to DATABASE_URL"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		remedy = "start PostgreSQL there, or correct DATABASE_URL"
	case !errors.As(err, &pqErr):
	case pqErr.Code == "28P01" || pqErr.Code == "28000":
		remedy = "correct user and password in DATABASE_URL"
	case pqErr.Code == "3D000":
		remedy = "create it with createdb, or correct DATABASE_URL"
	case pqErr.Code == "42501":
		remedy = "let this user create tables: GRANT CREATE ON SCHEMA public, " +
			"or make it the owner of the database"
	}
	err = explain("database", err)
	if remedy == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy)
}
