//go:build unix

package postgres

import (
	"context"
	"database/sql"
	"net"
	"time"

	"github.com/lib/pq"
)

// dialer opens connections with a deadline. lib/pq waits for a server that hangs even when the
// query's context ends, because the cancellation it sends waits for that server too.
type dialer time.Duration

// DialContext implements pq.DialerContext.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(time.Duration(d)))
}

// Dial implements pq.Dialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialTimeout(network, address, time.Duration(d))
}

// DialTimeout implements pq.Dialer.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// connect opens the database postgres, for statements that take no longer than timeout.
func (c *Cluster) connect(timeout time.Duration) (*sql.DB, error) {
	connector, err := pq.NewConnector(c.DSN("postgres"))
	if err != nil {
		return nil, err
	}
	connector.Dialer(dialer(timeout))
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(-1) // each statement has a connection of its own
	return db, nil
}
