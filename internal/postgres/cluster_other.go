//go:build !unix

package postgres

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
)

// Cluster is a private PostgreSQL cluster; there is none on this operating system.
type Cluster struct{}

// Start always fails here: the private cluster needs unix sockets, file locks and signals.
func Start(context.Context, Config, *slog.Logger) (*Cluster, error) {
	return nil, errors.New("the private PostgreSQL cluster does not run on " + runtime.GOOS +
		": set DATABASE_URL to a PostgreSQL server, e.g. postgres://user:password@localhost:5432/" +
		Database)
}

// DSN returns "".
func (c *Cluster) DSN(string) string { return "" }

// Pids returns nil.
func (c *Cluster) Pids() []int { return nil }

// Stop does nothing.
func (c *Cluster) Stop(context.Context) error { return nil }

// RunningDSN returns "".
func RunningDSN(string) string { return "" }
