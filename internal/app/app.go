// Package app wires the packages into a running server: it opens what they need, starts them in one
// order and stops them in the reverse one. It holds the adapters between packages that do not know
// each other, and no behaviour of its own. internal/cli calls it.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/broker"
	"github.com/oei-ms/oei-ms/internal/jobs"
	"github.com/oei-ms/oei-ms/internal/mqttsource"
	"github.com/oei-ms/oei-ms/internal/selfmonitor"
	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// drainTimeout is how long batches may go on committing after a stop was asked for.
const drainTimeout = 4 * time.Second

// Running is what a started server tells.
type Running struct {
	API           net.Addr
	MQTT          broker.Listeners // none with an external broker
	AdminPassword string           // set only when it was made just now
	Store         *store.Store
}

// Run runs the server until ctx ends or a part of it fails. ready is called when it takes work; its
// error ends the server.
func Run(
	ctx context.Context, cfg *configs.Config, log *slog.Logger, version server.Version,
	ready func(context.Context, Running) error,
) error {
	a := &app{
		cfg:      cfg,
		log:      log,
		version:  version,
		registry: prometheus.NewRegistry(),
		group:    newGroup(ctx),
	}
	for _, step := range []func(context.Context) error{
		a.keepSecretKey,
		a.listen,
		a.openStore,
		a.startStorageJobs,
		a.startPush,
		a.startIngest,
		a.startMonitor,
		a.startNotifier,
		a.startAPI,
		func(context.Context) error { return ready(a.group.ctx, a.running) },
	} {
		if err := step(ctx); err != nil {
			return errors.Join(err, a.group.stop())
		}
	}
	<-a.group.ctx.Done()
	log.InfoContext(ctx, "stopping")
	return a.group.stop()
}

// app is what the steps of a start hand on to each other.
type app struct {
	cfg      *configs.Config
	log      *slog.Logger
	version  server.Version
	registry *prometheus.Registry
	group    *group
	running  Running

	api      net.Listener
	mqtt     broker.Listeners
	store    *store.Store
	jobs     *jobs.Jobs
	auth     *auth.Auth
	hub      *push.Hub
	announce func(ingest.Committed)
	pipeline *ingest.Pipeline
	publish  notify.Publish
	notifier *notify.Notifier
	deps     server.Deps
}

func (a *app) keepSecretKey(ctx context.Context) error {
	path, made, err := a.cfg.KeepSecretKey()
	if made {
		a.log.InfoContext(ctx, "secret key generated", "file", path)
	}
	return err
}

// listen opens the ports first: one that is taken is the most frequent fault of a start.
func (a *app) listen(ctx context.Context) (err error) {
	a.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if a.api, err = listen(ctx, "PORT", a.cfg.Server.Host, a.cfg.Server.Port); err != nil {
		return err
	}
	a.group.onStop(func() error { _ = a.api.Close(); return nil }) // the server may have closed it
	if a.mqtt, err = listenMQTT(ctx, a.cfg); err != nil {
		return err
	}
	a.group.onStop(func() error { a.mqtt.Close(); return nil })
	a.running.API, a.running.MQTT = a.api.Addr(), a.mqtt
	return nil
}

func (a *app) openStore(ctx context.Context) error {
	dsn, closeDatabase, err := OpenDatabase(ctx, a.cfg, a.log)
	if err != nil {
		return err
	}
	a.group.onStop(closeDatabase)
	if err := Migrate(ctx, dsn, a.log); err != nil {
		return err
	}
	if a.store, err = store.Open(ctx, dsn, a.cfg.Store, a.log); err != nil {
		return err
	}
	a.group.onStop(a.store.Close)
	a.running.Store = a.store
	if err := a.store.EncryptSecretsWith(a.cfg.Auth.SecretKey); err != nil {
		return err
	}
	a.deps.Checks = append(a.deps.Checks, databaseCheck(a.store, a.cfg))
	return a.store.EnsurePartitions(ctx)
}

func (a *app) startStorageJobs(ctx context.Context) error {
	a.jobs = jobs.New(a.store, a.log, a.registry)
	a.group.start("housekeeping", func(ctx context.Context) error {
		return a.jobs.Housekeeping(ctx, jobs.Kept{
			Rejections: a.cfg.Ingest.RejectionRetention,
			Deliveries: a.cfg.Notify.Retention,
		})
	})
	rollups, err := a.store.PrepareRollups(ctx)
	if err != nil {
		return err
	}
	if rollups {
		a.group.start("rollups", a.jobs.Rollups)
	}
	if a.deps.Cache, err = newCache(a.cfg, a.store, a.log, a.registry); err != nil {
		return err
	}
	if a.deps.Cache != nil {
		a.group.start("cache", a.deps.Cache.Run)
	}
	a.group.start("retention", a.jobs.Retention)
	if a.cfg.Store.Maintenance {
		a.group.start("partition maintenance", a.jobs.Maintenance)
	}
	return nil
}

func (a *app) startPush(ctx context.Context) (err error) {
	if a.auth, err = auth.New(a.cfg.Auth, a.store, a.log, a.registry); err != nil {
		return err
	}
	a.group.onStop(func() error { a.auth.Close(); return nil })
	a.group.start("api key uses", a.auth.Run)
	if _, a.running.AdminPassword, err = a.auth.FirstAdmin(ctx); err != nil {
		return err
	}
	hub, others, err := newHub(a.cfg, a.auth, a.store, a.log, a.registry)
	if err != nil {
		return err
	}
	a.hub, a.announce = hub, announce(hub, others)
	a.group.start("push", hub.Run)
	if others != nil {
		a.group.start("relay", others.Run)
	}
	return nil
}

// startIngest starts the source of messages before the pipeline, so that it stops after it: what
// was committed is acknowledged.
func (a *app) startIngest(ctx context.Context) error {
	a.pipeline = ingest.New(a.cfg.Ingest, a.store, a.announce, a.log, a.registry)
	a.deps.Write = a.pipeline.Write
	a.deps.Checks = append(a.deps.Checks,
		server.Check{Name: "ingest", Kind: "embedded", Func: a.pipeline.Check})
	start := a.startSource
	if a.cfg.OwnBroker() {
		start = a.startBroker
	}
	if err := start(ctx); err != nil {
		return err
	}
	a.group.start("ingest",
		func(ctx context.Context) error { return a.pipeline.Run(ctx, drainTimeout) })
	a.group.start("alarms", a.jobs.Alarms) // while readings are taken
	return nil
}

// startSource reads from an external broker.
func (a *app) startSource(context.Context) error {
	source := mqttsource.New(a.cfg.MQTT, a.pipeline.Submit, a.log, a.registry)
	a.publish = source.Publish
	a.deps.MQTT = externalMQTT(a.cfg.MQTT)
	a.deps.Checks = append(a.deps.Checks,
		server.Check{Name: "mqtt", Kind: "external", Required: true, Func: source.Check})
	a.group.start("mqtt source", source.Run)
	return nil
}

// startBroker starts the MQTT broker of this instance.
func (a *app) startBroker(ctx context.Context) error {
	if err := a.store.ResetPresence(ctx, a.cfg.PrivateDatabase()); err != nil {
		return err
	}
	b, err := broker.New(a.cfg.Broker, a.mqtt, brokerAccess(a.store, a.auth), a.pipeline.Submit,
		a.log, a.registry)
	if err != nil {
		return err
	}
	a.publish = b.Publish
	a.deps.MQTT = embeddedMQTT(a.mqtt, a.cfg.Broker.TLSCertificate != "")
	a.deps.Checks = append(a.deps.Checks,
		server.Check{Name: "mqtt", Kind: "embedded", Required: true, Func: b.Check})
	a.group.start("presence", func(ctx context.Context) error {
		lost := func(p []store.Presence) { a.announce(ingest.Committed{Presence: p}) }
		return a.jobs.Presence(ctx, lost, b.Announce)
	})
	a.group.start("mqtt broker", b.Run)
	return nil
}

func (a *app) startMonitor(context.Context) error {
	sources := selfmonitor.Sources{
		IngestLag: a.pipeline.Lag,
		Stored: func(rs []store.Reading, alarmsChanged bool) {
			a.announce(ingest.Committed{Readings: rs, AlarmsChanged: alarmsChanged})
		},
	}
	if a.cfg.PrivateDatabase() {
		sources.DiskFree = func() (float64, error) {
			return selfmonitor.DiskFree(a.cfg.Cluster.DataDir)
		}
	}
	m := selfmonitor.New(a.cfg.Monitor, a.store, sources, a.log)
	a.group.start("self-monitor", m.Run)
	return nil
}

func (a *app) startNotifier(context.Context) (err error) {
	a.notifier, err = notify.New(a.cfg.Notify, a.store, a.publish, a.log, a.registry)
	if err != nil {
		return err
	}
	a.deps.Notifications = server.Notifications{
		TestChannel:   a.notifier.TestChannel,
		CheckChannel:  a.notifier.CheckChannel,
		CheckTemplate: notify.CheckTemplate,
	}
	a.group.start("notify", a.notifier.Run)
	a.group.start("alarm events", func(ctx context.Context) error {
		return a.store.ListenAlarmEvents(ctx, func() { a.hub.ReadAlarms(); a.notifier.Wake() })
	})
	return nil
}

func (a *app) startAPI(context.Context) error {
	if a.cfg.Auth.RedisURL != "" {
		a.deps.Checks = append(a.deps.Checks,
			server.Check{Name: "redis", Kind: "external", Func: a.auth.CheckRedis})
	}
	a.deps.Store, a.deps.Auth, a.deps.Hub = a.store, a.auth, a.hub
	a.deps.Log, a.deps.Registry, a.deps.Version = a.log, a.registry, a.version
	srv, err := server.New(a.cfg.Server, a.cfg.Query, a.deps)
	if err != nil {
		return err
	}
	a.group.start("api", func(ctx context.Context) error { return srv.Run(ctx, a.api) })
	return nil
}
