package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/store"
)

func (p *program) apiKeyCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "api-key",
		Short: "Manage API keys of programs",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	root.AddCommand(p.createAPIKeyCommand(), p.listAPIKeysCommand(), p.revokeAPIKeyCommand())
	return root
}

func (p *program) createAPIKeyCommand() *cobra.Command {
	var role string
	var validFor time.Duration
	var perMinute int
	create := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an API key and print it, once",
		Args:  cobra.ExactArgs(1),
		RunE: p.withStore(func(cmd *cobra.Command, args []string, st *store.Store) error {
			secret, prefix := auth.NewAPIKey()
			k := store.APIKey{Name: args[0], Prefix: prefix, Role: store.Role(role)}
			if cmd.Flags().Changed("valid-for") {
				k.ExpiresAt = new(time.Now().Add(validFor))
			}
			if cmd.Flags().Changed("requests-per-minute") {
				k.RequestsPerMinute = &perMinute
			}
			if err := checkAPIKey(k); err != nil {
				return err
			}
			_, err := st.CreateAPIKey(cmd.Context(), k, secret)
			if _, taken := errors.AsType[*store.ConflictError](err); taken {
				return fmt.Errorf("there is an API key %s already", k.Name)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.out, secret)
			return err
		}),
	}
	create.Flags().StringVar(&role, "role", string(store.Viewer),
		"viewer, operator, engineer or admin")
	create.Flags().DurationVar(&validFor, "valid-for", 0, "such as 2160h; default: for ever")
	create.Flags().IntVar(&perMinute, "requests-per-minute", 0,
		"default: OEI_SERVER_API_KEY_REQUESTS_PER_MINUTE")
	return create
}

// checkAPIKey holds a new key against the contract's APIKeyCreate.
func checkAPIKey(k store.APIKey) error {
	if n := utf8.RuneCountInString(k.Name); n < 1 || n > 100 ||
		strings.TrimSpace(k.Name) != k.Name || strings.ContainsFunc(k.Name, unicode.IsControl) {
		return fmt.Errorf("name %q: use 1 to 100 characters, without spaces around them", k.Name)
	}
	if !k.Role.Valid() {
		return fmt.Errorf("role %q: use viewer, operator, engineer or admin", k.Role)
	}
	if k.ExpiresAt != nil && !k.ExpiresAt.After(time.Now()) {
		return errors.New("--valid-for: use a duration above 0, such as 2160h")
	}
	if n := k.RequestsPerMinute; n != nil && (*n < 1 || *n > auth.MaxRequestsPerMinute) {
		return fmt.Errorf("--requests-per-minute: %d is out of range; use 1 to %d", *n,
			auth.MaxRequestsPerMinute)
	}
	return nil
}

// apiKeyPage is how many keys list reads at a time.
const apiKeyPage = 1000

func (p *program) listAPIKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List API keys, without their secrets",
		Args:  cobra.NoArgs,
		RunE: p.withStore(func(cmd *cobra.Command, _ []string, st *store.Store) error {
			w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PREFIX\tNAME\tROLE\tEXPIRES\tLAST USED\tCREATED BY")
			for after := int64(0); ; {
				list, err := st.APIKeys(cmd.Context(), store.APIKeyFilter{}, after, apiKeyPage)
				if err != nil {
					return err
				}
				for _, k := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Prefix, k.Name, k.Role,
						instant(k.ExpiresAt, "never"), instant(k.LastUsedAt, "never"), creator(k))
					after = k.ID
				}
				if len(list) < apiKeyPage {
					return w.Flush()
				}
			}
		}),
	}
}

func instant(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}

func creator(k store.APIKey) string {
	if k.CreatedBy == nil {
		return "command line"
	}
	return *k.CreatedBy
}

func (p *program) revokeAPIKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke PREFIX",
		Short: "Revoke the API key with this prefix; servers refuse it within a second",
		Args:  cobra.ExactArgs(1),
		RunE: p.withStore(func(cmd *cobra.Command, args []string, st *store.Store) error {
			k, err := st.APIKeyByPrefix(cmd.Context(), args[0])
			if err == nil {
				k, err = st.DeleteAPIKey(cmd.Context(), k.ID, 0)
			}
			if errors.Is(err, store.ErrNotFound) {
				shown, _ := auth.HideAPIKeys(args[0])
				return fmt.Errorf("there is no API key %s; use a prefix of `oei-ms api-key list`",
					shown)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.out, "API key %s is revoked\n", k.Name)
			return err
		}),
	}
}
