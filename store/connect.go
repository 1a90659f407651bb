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

// openPool makes a pool whose statements take timeout at most.
func openPool(
	dsn string, conns int, timeout time.Duration, params map[string]string,
) (*sqlx.DB, error) {
	return openPoolUntil(context.Background(), dsn, conns, timeout, params)
}

// openPoolUntil is openPool for as long as ctx lasts: whatever timeout is, answers are not waited for much
// longer than that.
func openPoolUntil(
	ctx context.Context, dsn string, conns int, timeout time.Duration, params map[string]string,
) (*sqlx.DB, error) {
	params["statement_timeout"] = fmt.Sprint(timeout.Milliseconds())
	// to compile a statement takes longer than any of ours
	params["jit"] = "off"
	// one that takes long would take the other processors, too
	params["max_parallel_workers_per_gather"] = "0"
	connector, err := connector(dsn, params)
	if err != nil {
		return nil, err
	}
	connector.Dialer(dialer{limit: timeout + answerMargin, life: ctx})
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

// connector turns dsn into a connector whose sessions run in UTC and send []byte as binary. The
// latter saves a round trip for every statement and lets arrays travel as they are.
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

// connectError adds to an error of the first connection what can be done about it.
func connectError(err error) error {
	remedy := ""
	var pqErr *pq.Error
	switch {
	case errors.Is(err, pq.ErrSSLNotSupported):
		remedy = "the server has no TLS: if it is on a network you trust, add sslmode=disable to DATABASE_URL"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		remedy = "start PostgreSQL there, or correct DATABASE_URL"
	case !errors.As(err, &pqErr):
	case pqErr.Code == "28P01" || pqErr.Code == "28000":
		remedy = "correct user and password in DATABASE_URL"
	case pqErr.Code == "3D000":
		remedy = "make it with createdb, or correct DATABASE_URL"
	case pqErr.Code == "42501":
		remedy = "give this user the right: GRANT CREATE ON SCHEMA public, or make it the database's owner"
	}
	err = explain("database", err)
	if remedy == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy)
}
