package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/broker"
	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/internal/selfmonitor"
	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// drainTime is how long committing may go on after a stop was asked for.
const drainTime = 4 * time.Second

func (p *program) serveCommand() *cobra.Command {
	var demo bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server; without settings with a PostgreSQL and an MQTT broker of its own",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := p.load()
			switch {
			case err != nil:
				return err
			case demo:
				return p.demo(cmd.Context(), cfg)
			}
			return p.serve(cmd.Context(), cfg, log, p.greet)
		},
	}
	cmd.Flags().BoolVar(&demo, "demo", false,
		"also run a simulated plant, in a data directory of its own")
	return cmd
}

// running is what a started server tells.
type running struct {
	api           net.Addr
	mqtt          broker.Listeners // none with an external broker
	adminPassword string           // set only when it was made just now
	store         *store.Store
}

// serve runs the server until ctx ends or a part of it fails. ready is called when it takes work.
func (p *program) serve(
	ctx context.Context, cfg *configs.Config, log *slog.Logger,
	ready func(context.Context, *configs.Config, running) error,
) (err error) {
	l := newLife(ctx)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	if path, made, err := cfg.KeepSecretKey(); err != nil {
		return err
	} else if made {
		log.InfoContext(ctx, "a secret key is made and kept", "file", path)
	}
	api, err := listen(ctx, "PORT", cfg.Server.Host, cfg.Server.Port)
	if err != nil {
		return err
	}
	defer api.Close()
	mqtt, err := listenMQTT(ctx, cfg)
	if err != nil {
		return err
	}
	defer mqtt.Close()
	dsn, closeDatabase, err := openDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDatabase()) }()
	if err := migrate(ctx, dsn, log); err != nil {
		return err
	}
	st, err := store.Open(ctx, dsn, cfg.Store, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.SealWith(cfg.Server.SecretKey); err != nil {
		return err
	}
	if err := st.EnsurePartitions(ctx); err != nil {
		return err
	}
	defer l.start("housekeeping",
		func(ctx context.Context) error { return keepHouse(ctx, st, cfg, log) })()

	answers, err := newCache(cfg, st, log, reg)
	if err != nil {
		return err
	}
	if on, err := st.KeepRollups(ctx); err != nil {
		return err
	} else if on {
		defer l.start("rollups",
			func(ctx context.Context) error { return keepRollups(ctx, st, log, reg) })()
	}
	if answers != nil {
		defer l.start("cache", answers.Run)()
	}

	defer l.start("retention",
		func(ctx context.Context) error { return keepRetention(ctx, st, log, reg) })()
	if cfg.Store.Compact {
		defer l.start("compaction",
			func(ctx context.Context) error { return keepCompact(ctx, st, log, reg) })()
	}

	auth, err := server.NewAuth(cfg.Server, st, log)
	if err != nil {
		return err
	}
	defer auth.Close()
	info := running{api: api.Addr(), store: st}
	if _, info.adminPassword, err = auth.FirstAdmin(ctx); err != nil {
		return err
	}
	hub, err := newHub(cfg, auth, st, log, reg)
	if err != nil {
		return err
	}
	defer l.start("push", hub.Run)()

	pipeline := ingest.New(cfg.Ingest, st, announce(hub), log, reg)
	checks := append(databaseCheck(st, cfg),
		server.Check{Name: "ingest", Kind: "embedded", Func: pipeline.Check})
	var publish notify.Publish
	if !cfg.OwnBroker() {
		source := ingest.NewSource(cfg.MQTT, pipeline.Submit, log, reg)
		publish = source.Publish
		checks = append(checks,
			server.Check{Name: "mqtt", Kind: "external", Required: true, Func: source.Check})
		defer l.start("mqtt source", source.Run)()
	} else {
		if err := st.ResetPresence(ctx, cfg.PrivateDatabase()); err != nil {
			return err
		}
		broker, err := broker.New(cfg.Broker, mqtt, access(st, auth), pipeline.Submit, log, reg)
		if err != nil {
			return err
		}
		info.mqtt, publish = mqtt, broker.Publish
		checks = append(checks,
			server.Check{Name: "mqtt", Kind: "embedded", Required: true, Func: broker.Check})
		defer l.start("presence",
			func(ctx context.Context) error { return keepPresence(ctx, st, hub, broker, log) })()
		defer l.start("mqtt broker", broker.Run)()
	}
	defer l.start("ingest", func(ctx context.Context) error { return pipeline.Run(ctx, drainTime) })()
	// while readings are taken
	defer l.start("alarms", func(ctx context.Context) error { return sweepAlarms(ctx, st, log) })()
	watcher := selfmonitor.New(cfg.Watch, st, log)
	watcher.Lag, watcher.Tell = pipeline.Lag, func(rs []store.Reading, es []store.AlarmEvent) {
		announce(hub)(ingest.Committed{Readings: rs, Events: es})
	}
	if cfg.PrivateDatabase() {
		watcher.DiskFree = func() (float64, error) {
			return selfmonitor.DiskFree(
				cfg.Cluster.DataDir,
			)
		}
	}
	defer l.start("watch", watcher.Run)()
	notifier, err := notify.New(cfg.Notify, st, publish, log, reg)
	if err != nil {
		return err
	}
	defer l.start("notify", notifier.Run)()
	defer l.start("alarm events", func(ctx context.Context) error {
		return st.WatchAlarmEvents(ctx, func() { hub.ReadAlarms(); notifier.Wake() })
	})()
	if cfg.Server.RedisURL != "" {
		checks = append(checks,
			server.Check{Name: "redis", Kind: "external", Func: auth.CheckRedis})
	}

	srv, err := server.New(cfg.Server, server.Deps{
		Store:    st,
		Cache:    answers,
		Auth:     auth,
		Hub:      hub,
		Write:    pipeline.Write,
		Notices:  notices(notifier),
		Checks:   checks,
		Log:      log,
		Registry: reg,
		Version:  server.Version{Version: version, Commit: commit(), Go: goVersion()},
	})
	if err != nil {
		return err
	}
	stop := l.start("api", func(ctx context.Context) error { return srv.Run(ctx, api) })
	if err := ready(l.ctx, cfg, info); err != nil {
		l.fail(err)
	}
	<-l.ctx.Done()
	log.InfoContext(ctx, "stopping")
	stop()
	return l.err()
}

// notices lets the server ask the notifier.
func notices(n *notify.Notifier) server.Notices {
	return server.Notices{
		Try:           n.Try,
		CheckChannel:  n.CheckChannel,
		CheckTemplate: notify.CheckTemplate,
	}
}

// openDatabase returns the address of the database: the one of the settings, else of a private
// cluster that it starts.
func openDatabase(
	ctx context.Context, cfg *configs.Config, log *slog.Logger,
) (dsn string, stop func() error, err error) {
	if !cfg.PrivateDatabase() {
		return cfg.Database.URL, func() error { return nil }, nil
	}
	c, err := postgres.Start(ctx, cfg.Cluster, log)
	if err != nil {
		return "", nil, err
	}
	return c.DSN(postgres.Database), func() error { return c.Stop(context.WithoutCancel(ctx)) }, nil
}

// access lets the embedded broker ask the store who may connect.
func access(st *store.Store, auth *server.Auth) broker.Access {
	return broker.Access{
		BeginLogin: auth.BeginGatewayLogin,
		EndLogin:   auth.EndGatewayLogin,
		Login: func(ctx context.Context, key, secret string) (broker.Gateway, bool, error) {
			gateway, credential, err := st.Login(ctx, key, secret)
			if errors.Is(err, store.ErrNotFound) {
				return broker.Gateway{}, false, nil
			}
			return broker.Gateway{ID: gateway, Key: key, Credential: credential}, err == nil, err
		},
		Certified: func(ctx context.Context, key string) (broker.Gateway, bool, error) {
			credential, err := st.Certified(ctx, key)
			if errors.Is(err, store.ErrNotFound) {
				return broker.Gateway{}, false, nil
			}
			return broker.Gateway{ID: -credential, Key: key, Credential: credential}, err == nil, err
		},
		HasGateway: st.HasGateway,
		InForce:    st.InForce,
		Resume:     st.ResumeSession,
		Suspend:    st.SuspendSession,
	}
}

func databaseCheck(st *store.Store, cfg *configs.Config) []server.Check {
	kind := "external"
	if cfg.PrivateDatabase() {
		kind = "embedded"
	}
	return []server.Check{{Name: "database", Kind: kind, Required: true, Func: st.Ping}}
}

// keepHouse does what has to be done now and then: partitions ahead of time, readings of deleted
// sensors, old sessions, old idempotency keys, and what was refused or sent longer ago than it is
// kept.
func keepHouse(ctx context.Context, st *store.Store, cfg *configs.Config, log *slog.Logger) error {
	// soon: one that never runs for an hour has to sweep too
	often, seldom := time.NewTicker(10*time.Second), time.NewTimer(time.Minute)
	defer often.Stop()
	defer seldom.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-often.C:
			err = st.Purge(ctx)
		case <-seldom.C:
			seldom.Reset(time.Hour)
			err = errors.Join(st.EnsurePartitions(ctx), st.SweepSessions(ctx), st.SweepKeys(ctx),
				st.SweepRejections(ctx, cfg.Ingest.RejectionRetention),
				st.SweepDeliveries(ctx, cfg.Notify.Retention))
		}
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "housekeeping failed, it is tried again", "error", err)
		}
	}
}

// greet prints where to look and, once, how to log in.
func (p *program) greet(_ context.Context, cfg *configs.Config, r running) error {
	fmt.Fprintf(p.out, "\n  API        %s/docs\n", localURL(r.api))
	p.greetMQTT(cfg, r.mqtt)
	if !cfg.OwnBroker() {
		fmt.Fprintf(p.out, "  MQTT v5    by the broker at %s\n",
			net.JoinHostPort(cfg.MQTT.Host, strconv.Itoa(cfg.MQTT.Port)))
	}
	if r.adminPassword != "" {
		fmt.Fprintf(p.out,
			"  log in     %s / %s   (shown this once; change it with `%[3]s user passwd %[1]s --data-dir %[4]s`)\n",
			cfg.Server.AdminUsername, r.adminPassword, os.Args[0], cfg.DataDir)
	}
	_, err := fmt.Fprintln(p.out)
	return err
}

// local is an address as one on this machine would use it.
func local(a net.Addr) string {
	host, port, _ := net.SplitHostPort(a.String()) // it is one
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func localURL(a net.Addr) string { return "http://" + local(a) }
