package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/internal/simulator"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// migrate brings the schema up to date and says so when that was something to do.
func migrate(ctx context.Context, dsn string, log *slog.Logger) error {
	from, to, err := store.Migrate(ctx, dsn)
	if err == nil && from != to {
		log.InfoContext(ctx, "schema is migrated", "from", from, "to", to)
	}
	return err
}

// withDatabase runs f with the address of the database: the one of the settings, else of the
// private cluster, which is started for as long unless a running server has it.
func (p *program) withDatabase(
	ctx context.Context, f func(cfg *configs.Config, dsn string, log *slog.Logger) error,
) (err error) {
	cfg, log, err := p.load()
	if err != nil {
		return err
	}
	if cfg.PrivateDatabase() {
		if dsn := postgres.RunningDSN(cfg.Cluster.DataDir); dsn != "" {
			return f(cfg, dsn, log)
		}
	}
	dsn, stop, err := openDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return f(cfg, dsn, log)
}

func (p *program) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema to this program's version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withDatabase(cmd.Context(),
				func(_ *configs.Config, dsn string, _ *slog.Logger) error {
					from, to, err := store.Migrate(cmd.Context(), dsn)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(p.out, "schema version %d (was %d)\n", to, from)
					return err
				})
		},
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "to VERSION",
			Short: "Take the schema up or down to a version; down drops what the later ones brought, data included",
			Args:  cobra.ExactArgs(1),
			RunE: p.withVersion(func(ctx context.Context, dsn string, v int) error {
				return store.MigrateTo(ctx, dsn, uint(v))
			}),
		},
		&cobra.Command{
			Use:   "force VERSION",
			Short: "Declare which version the schema has, after mending it by hand",
			Args:  cobra.ExactArgs(1),
			RunE:  p.withVersion(store.ForceVersion),
		},
	)
	return cmd
}

func (p *program) withVersion(
	f func(ctx context.Context, dsn string, version int) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		v, err := strconv.Atoi(args[0])
		if err != nil || v < 0 || v > int(store.Newest()) {
			return fmt.Errorf("version %q: use 0 to %d", args[0], store.Newest())
		}
		return p.withDatabase(cmd.Context(),
			func(_ *configs.Config, dsn string, _ *slog.Logger) error {
				return f(cmd.Context(), dsn, v)
			})
	}
}

func (p *program) userCommand() *cobra.Command {
	var role, email string
	user := &cobra.Command{Use: "user", Short: "Manage users", Args: cobra.NoArgs, RunE: help}
	create := &cobra.Command{
		Use:   "create USERNAME",
		Short: "Add a user; the password is asked for, or read from standard input",
		Args:  cobra.ExactArgs(1),
		RunE: p.withStore(func(cmd *cobra.Command, args []string, st *store.Store) error {
			u := store.User{Username: args[0], Email: email, Role: store.Role(role), IsActive: true}
			if u.Email == "" {
				u.Email = u.Username + "@localhost"
			}
			if !u.Role.Valid() {
				return fmt.Errorf("role %q: use viewer, operator, engineer or admin", role)
			}
			if err := checkNames(u); err != nil {
				return err
			}
			var err error
			if u.PasswordHash, err = p.askPassword(cmd.InOrStdin()); err != nil {
				return err
			}
			u, err = st.CreateUser(cmd.Context(), u)
			switch {
			case errors.Is(err, store.ErrEmailTaken):
				return fmt.Errorf("another user has the email %s; give one with --email", u.Email)
			case errors.Is(err, store.ErrConflict):
				return fmt.Errorf("there is a user %s already", u.Username)
			case err != nil:
				return err
			}
			_, err = fmt.Fprintf(p.out, "user %s is made, with the role %s\n", u.Username, u.Role)
			return err
		}),
	}
	create.Flags().StringVar(&role, "role", string(store.Viewer),
		"viewer, operator, engineer or admin")
	create.Flags().StringVar(&email, "email", "", "default USERNAME@localhost")
	passwd := &cobra.Command{
		Use:   "passwd USERNAME",
		Short: "Set a user's password, which ends all of the user's sessions",
		Args:  cobra.ExactArgs(1),
		RunE: p.withStore(func(cmd *cobra.Command, args []string, st *store.Store) error {
			u, err := st.UserByName(cmd.Context(), args[0])
			if errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("there is no user %s", args[0])
			}
			if err != nil {
				return err
			}
			hash, err := p.askPassword(cmd.InOrStdin())
			if err != nil {
				return err
			}
			if err := st.SetPassword(cmd.Context(), u.ID, hash, ""); err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.out, "password of %s is set\n", u.Username)
			return err
		}),
	}
	user.AddCommand(create, passwd)
	return user
}

// checkNames holds a user's names against the contract's UserCreate.
func checkNames(u store.User) error {
	if n := utf8.RuneCountInString(u.Username); n < 1 || n > 50 ||
		strings.TrimSpace(u.Username) != u.Username ||
		strings.ContainsFunc(u.Username, unicode.IsControl) {
		return fmt.Errorf("username %q: use 1 to 50 characters, without spaces around them",
			u.Username)
	}
	name, domain, _ := strings.Cut(u.Email, "@")
	if utf8.RuneCountInString(u.Email) > 100 || name == "" || domain == "" ||
		strings.ContainsAny(domain, "@ ") || strings.Contains(name, " ") {
		return fmt.Errorf("email %q: use one like name@example.com, with at most 100 characters",
			u.Email)
	}
	return nil
}

func (p *program) withStore(
	f func(*cobra.Command, []string, *store.Store) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return p.withDatabase(cmd.Context(),
			func(cfg *configs.Config, dsn string, log *slog.Logger) error {
				if err := migrate(cmd.Context(), dsn, log); err != nil {
					return err
				}
				st, err := store.Open(cmd.Context(), dsn, cfg.Store, log)
				if err != nil {
					return err
				}
				return errors.Join(f(cmd, args, st), st.Close())
			})
	}
}

// askPassword reads a password, without showing it at a terminal, and returns its hash.
func (p *program) askPassword(in io.Reader) (string, error) {
	var password string
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(p.errOut, "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.errOut)
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		password = string(b)
	} else {
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("password: %w", err)
		}
		password = strings.TrimRight(line, "\r\n")
	}
	return server.HashPassword(password)
}

func (p *program) simulateCommand() *cobra.Command {
	c := simulator.DefaultConfig()
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a simulated plant against a server",
		Long: "Registers gateways and sensors through the API and publishes believable readings over MQTT v5 at QoS 1,\n" +
			"until it is interrupted. The password may also stand in OEI_PASSWORD.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Out = p.out
			if c.Password == "" {
				c.Password = os.Getenv("OEI_PASSWORD")
			}
			return simulator.Run(cmd.Context(), c, slog.New(slog.NewTextHandler(p.errOut, nil)))
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.API, "api", c.API, "address of the API")
	f.StringVar(&c.MQTT, "mqtt", c.MQTT, "address of the MQTT broker")
	f.StringVar(&c.Username, "username", "admin", "a user with the role engineer or admin")
	f.StringVar(&c.Password, "password", "", "that user's password")
	f.StringVar(&c.Prefix, "prefix", c.Prefix, "what the gateways' keys begin with")
	f.IntVar(&c.Gateways, "gateways", c.Gateways, "how many gateways")
	f.IntVar(&c.Sensors, "sensors", c.Sensors, "how many sensors on each")
	f.DurationVar(&c.Interval, "interval", c.Interval, "time between two readings of a sensor")
	f.IntVar(&c.PerMessage, "per-message", c.PerMessage, "readings in a message")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "the same seed makes the same signals")
	return cmd
}

// demo runs the server and a plant together. Unless the settings ask for more, it logs only what
// goes wrong.
func (p *program) demo(ctx context.Context, cfg *configs.Config) error {
	if cfg.Log.Level == "info" && !cfg.Debug {
		cfg.Log.Level = "warn"
	}
	log := cfg.Logger(p.errOut)
	cfg.DataDir = filepath.Join(cfg.DataDir, "demo")
	cfg.Broker.Plain = true // for the plant
	cfg.Cluster.DataDir = filepath.Join(cfg.DataDir, "postgres")
	return p.serve(ctx, cfg, log, func(ctx context.Context, cfg *configs.Config, r running) error {
		password, err := demoUser(ctx, r.store)
		if err != nil {
			return err
		}
		if err := p.greet(ctx, cfg, r); err != nil {
			return err
		}
		p.tour(r, password)
		c := simulator.DefaultConfig()
		c.API, c.Username, c.Password, c.Out = localURL(r.api), demoName, password, p.out
		c.MQTT = "mqtt://" + cfg.MQTT.Host + ":" + strconv.Itoa(cfg.MQTT.Port)
		if r.mqtt.Plain != nil {
			c.MQTT = "mqtt://" + local(r.mqtt.Plain.Addr())
		}
		return simulator.Run(ctx, c, log)
	})
}

const demoName = "demo"

// demoUser gives the user of the demo a new password and returns it.
func demoUser(ctx context.Context, st *store.Store) (string, error) {
	password := server.NewPassword()
	hash, err := server.HashPassword(password)
	if err != nil {
		return "", err
	}
	u, err := st.UserByName(ctx, demoName)
	if errors.Is(err, store.ErrNotFound) {
		_, err = st.CreateUser(ctx, store.User{
			Username:     demoName,
			Email:        demoName + "@localhost",
			PasswordHash: hash,
			Role:         store.Engineer,
			IsActive:     true,
		})
		return password, err
	}
	if err != nil {
		return "", err
	}
	return password, st.SetPassword(ctx, u.ID, hash, "")
}

// tour prints how to look at the simulator.
func (p *program) tour(r running, password string) {
	fmt.Fprintf(p.out, `  A simulated plant publishes every second. Log in to the docs page as %[2]s / %[3]s, or:

    TOKEN=$(curl -s %[1]s/api/auth/login -d username=%[2]s -d password=%[3]s | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    curl -H "Authorization: Bearer $TOKEN" %[1]s/api/data/latest

  Ctrl-C stops everything; the data stays for the next time.

`, localURL(r.api), demoName, password)
}
