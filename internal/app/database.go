package app

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// OpenDatabase returns the address of the database: that of the settings, else that of a private
// cluster, which it starts. stop stops what was started.
func OpenDatabase(
	ctx context.Context, cfg *configs.Config, log *slog.Logger,
) (dsn string, stop func() error, err error) {
	if !cfg.PrivateDatabase() {
		return cfg.Database.URL, func() error { return nil }, nil
	}
	c, err := postgres.Start(ctx, cfg.Cluster, log)
	if err != nil {
		return "", nil, err
	}
	stop = func() error { return c.Stop(context.WithoutCancel(ctx)) }
	return c.DSN(postgres.Database), stop, nil
}

// Migrate brings the schema to the version of this program.
func Migrate(ctx context.Context, dsn string, log *slog.Logger) error {
	from, to, err := store.Migrate(ctx, dsn)
	if err == nil && from != to {
		log.InfoContext(ctx, "schema migrated", "from", from, "to", to)
	}
	return err
}

func databaseCheck(st *store.Store, cfg *configs.Config) server.Check {
	kind := "external"
	if cfg.PrivateDatabase() {
		kind = "embedded"
	}
	return server.Check{Name: "database", Kind: kind, Required: true, Func: st.Ping}
}

// newCache returns nil when answers are not cached. Without rollups, whose marks tell when readings
// change, they never are.
func newCache(
	cfg *configs.Config, st *store.Store, log *slog.Logger, reg prometheus.Registerer,
) (*cache.Cache, error) {
	if cfg.Cache.Bytes == 0 || !cfg.Store.Rollups {
		return nil, nil
	}
	return cache.New(cfg.Cache, cfg.Auth.RedisURL, st.Changes, log, reg)
}
