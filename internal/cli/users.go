package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/store"
)

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
			conflict, _ := errors.AsType[*store.ConflictError](err)
			switch {
			case conflict != nil && conflict.Field == "email":
				return fmt.Errorf("another user has the email %s; give one with --email", u.Email)
			case conflict != nil:
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
	if auth.IsReservedUsername(u.Username) {
		return fmt.Errorf("username %q: it begins like the name of an API key; use another",
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
	return auth.HashPassword(password)
}
