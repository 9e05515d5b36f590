package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"mailproxy/internal/qrcode"
	"mailproxy/proxy"
	"mailproxy/proxy/contacts"
)

// contactOne are the flags of a command about one contact.
type contactOne struct {
	contactFlags
	Address string `arg:"" help:"The contact's address."`
}

func (f *contactOne) name() proxy.ContactName {
	return proxy.ContactName{Account: f.Account, Address: f.Address}
}

// control returns a controller of the daemon.
func (f *contactFlags) control() (*proxy.Controller, error) {
	cfg, err := proxy.LoadConfig(f.Config)
	if err != nil {
		return nil, err
	}
	return proxy.Control(cfg.Dir), nil
}

type contactShowCmd struct {
	contactOne
	QR bool `name:"qr" help:"Draw the QR code too, for the other person's camera."`
}

// Run shows a contact with their safety number.
func (c *contactShowCmd) Run(ctx context.Context) error {
	control, err := c.control()
	if err != nil {
		return err
	}
	k, err := control.ContactKeys(ctx, c.name())
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(k)
	}
	fmt.Printf("contact  %s, of %s\nkey      %s since %s%s\n", k.Address, k.Account, k.State, k.Since.Local().Format(time.DateOnly), contactNotes(k.ContactStatus))
	if k.State == "changed" {
		fmt.Printf("\nTheir provider shows another key since %s. Until you decide, %s.\n", k.Other.Since.Local().Format(time.DateOnly), heldWords(k.ContactStatus))
		if k.Verified {
			fmt.Println("YOU HAVE VERIFIED THE KEY THAT THEY HAD BEFORE. Trust nothing that comes with the new one until you have compared again.")
		}
	} else if k.Other != nil {
		fmt.Printf("\nA mail came on %s under their address with another key, which their provider does not show. It is most likely false, and waits for your decision.\n",
			k.Other.Since.Local().Format(time.DateOnly))
	}
	code := k.QR
	if k.Other == nil {
		fmt.Printf("\nsafety number:\n%s\n", numberLines(k.SafetyNumber))
		fmt.Printf("\nIf their mailproxy shows the same number for %s, nobody stands between you. Let them read it to you, and type it into\n  %s\n", k.Account, c.command("verify", k))
	} else {
		fmt.Printf("\nsafety number with the key of before:\n%s\n", numberLines(k.SafetyNumber))
		fmt.Printf("\nsafety number with the other key:\n%s\n", numberLines(k.Other.SafetyNumber))
		fmt.Printf("\nAsk them by telephone, or when you meet, which number their mailproxy shows for %s. Type it into\n  %s\n", k.Account, c.command("verify", k))
		fmt.Printf("which says which of the keys is theirs, and accepts the other one if it is. If that one is false:\n  %s\n", c.command("reject", k))
		code = k.Other.QR
	}
	if c.QR {
		return drawCode(k, code)
	}
	return nil
}

// drawCode draws what the other person is to scan. With a key that waits for a decision
// it is the code for that one: for the other the number above serves.
func drawCode(k proxy.ContactKeys, code string) error {
	drawn, err := qrcode.New(code)
	if err != nil {
		return err
	}
	which := ""
	if k.Other != nil {
		which = ", if the other key is theirs"
	}
	fmt.Printf("\nFor %s to scan, and to have checked by their mailproxy%s:\n%s%s\n", k.Address, which, drawn.Terminal(term.IsTerminal(int(os.Stdout.Fd()))), code)
	return nil
}

// command is a line to type.
func (f *contactOne) command(what string, k proxy.ContactKeys) string {
	line := "mailproxy contact " + what + " " + k.Address
	if f.Account != "" {
		line += " --account " + k.Account
	}
	return line
}

// numberLines writes a safety number in three lines.
func numberLines(number string) string {
	g := strings.Fields(contacts.GroupDigits(number))
	return "  " + strings.Join(g[:4], " ") + "\n  " + strings.Join(g[4:8], " ") + "\n  " + strings.Join(g[8:], " ")
}

// heldWords says what waits for a decision.
func heldWords(c proxy.ContactStatus) string {
	return fmt.Sprintf("mail waits: %d to them, and %d from them with that key", c.HeldTo, c.HeldFrom)
}

func mails(n int) string {
	if n == 1 {
		return "1 mail"
	}
	return fmt.Sprintf("%d mails", n)
}

type contactVerifyCmd struct {
	contactOne
	Digits []string `arg:"" optional:"" help:"The safety number that their mailproxy shows, in one piece or in groups. Without it, it is asked for."`
	Number string   `help:"The same, as a flag." xor:"what" placeholder:"DIGITS"`
	QR     string   `name:"qr" help:"What a program has read from the QR code that their mailproxy shows." xor:"what" placeholder:"TEXT"`
}

// Validate is called by kong.
func (c *contactVerifyCmd) Validate() error {
	if len(c.Digits) > 0 && c.Number+c.QR != "" {
		return errors.New("give the safety number once, or the content of the QR code")
	}
	return nil
}

// Run compares what the other person shows with the keys that are known.
func (c *contactVerifyCmd) Run(ctx context.Context) error {
	control, err := c.control()
	if err != nil {
		return err
	}
	in := proxy.VerifyContact{ContactName: c.name(), Number: c.Number + strings.Join(c.Digits, " "), QR: c.QR}
	if in.Number == "" && in.QR == "" {
		if c.JSON {
			return errNoNumber
		}
		if _, err := control.ContactKeys(ctx, c.name()); err != nil { // before anybody telephones
			return err
		}
		// Their number is asked for and ours not shown: to compare is not to copy.
		fmt.Fprintf(os.Stderr, "Have %s read their safety number to you by telephone, or when you meet. Type its 60 digits in one line: ", c.Address)
		if in.Number, err = readLine(); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr)
	}
	out, err := control.VerifyContact(ctx, in)
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		return printJSON(out)
	case out.Accepted:
		fmt.Printf("That is the number of the other key: it is accepted, and verified. %s\n", outcome(out))
	case out.State == "changed":
		fmt.Printf("That is the number of the key of before: it is still theirs, and verified. The key that their provider shows is not theirs; to have mail with it dropped:\n  mailproxy contact reject %s\n", out.Address)
	case !out.Changed:
		fmt.Printf("That is the number. %s was verified before.\n", out.Address)
	default:
		fmt.Printf("That is the number: nobody stands between you. %s is verified.\n", out.Address)
	}
	return nil
}

// errNoNumber is the answer where no number was typed.
var errNoNumber = errors.New("nothing was typed, and nothing changed; give the number behind the address, or the content of the QR code with --qr")

func readLine() (string, error) {
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // what there is without a line end counts
	if line = strings.TrimSpace(line); line == "" {
		return "", errNoNumber
	}
	return line, nil
}

type contactUnverifyCmd struct{ contactOne }

// Run takes back that a contact was verified.
func (c *contactUnverifyCmd) Run(ctx context.Context) error {
	control, err := c.control()
	if err != nil {
		return err
	}
	out, err := control.UnverifyContact(ctx, c.name())
	switch {
	case err != nil:
		return err
	case c.JSON:
		return printJSON(out)
	case !out.Changed:
		fmt.Println(out.Address, "was not verified")
	default:
		fmt.Println(out.Address, "is not verified any more; the key stays the same")
	}
	return nil
}

// decideFlags are those of a decision on the other key of a contact.
type decideFlags struct {
	contactOne
	Yes bool `help:"Do not ask."`
}

type contactAcceptCmd struct {
	decideFlags
	LoseVerified bool `help:"Accept a key that nobody has verified in the place of one that you have."`
}

// Run accepts the other key of a contact without comparing.
func (c *contactAcceptCmd) Run(ctx context.Context) error {
	return c.decide(ctx, (*proxy.Controller).AcceptKey, c.LoseVerified, func(k proxy.ContactKeys) string {
		text := "The other key of " + k.Address + " becomes theirs, though you have not compared safety numbers: you trust their provider. "
		if !k.Other.Published {
			text = "The key with which a mail came becomes that of " + k.Address + ", though their provider does not show it: anybody can have sent that mail. "
		}
		if k.Verified {
			text += "THE KEY OF BEFORE WAS VERIFIED, AND THIS ONE IS NOT. "
		}
		return text + "What was held is delivered, and mail to them is sealed with that key."
	})
}

type contactRejectCmd struct{ decideFlags }

// Run keeps the key that a contact had.
func (c *contactRejectCmd) Run(ctx context.Context) error {
	return c.decide(ctx, (*proxy.Controller).RejectKey, false, func(k proxy.ContactKeys) string {
		return "The other key of " + k.Address + " is not theirs: what came with it is dropped (" + mails(k.HeldFrom) + "), and all that comes. " +
			"Mail of yours to them is sent if their provider shows the key that you know, and else you get a report."
	})
}

func (f *decideFlags) decide(ctx context.Context, do func(*proxy.Controller, context.Context, proxy.DecideKey) (proxy.DecidedKey, error), lose bool, consequences func(proxy.ContactKeys) string) error {
	control, err := f.control()
	if err != nil {
		return err
	}
	k, err := control.ContactKeys(ctx, f.name())
	if err != nil {
		return err
	}
	if k.Other == nil {
		return fmt.Errorf("no other key of %s waits for a decision; theirs is %s", k.Address, k.State)
	}
	if !f.Yes {
		if err := confirm(f.JSON, consequences(k), "the address", k.Address, errNotConfirmed); err != nil {
			return err
		}
	}
	out, err := do(control, ctx, proxy.DecideKey{ContactName: f.name(), Key: k.Other.Key, LoseVerified: lose})
	if err != nil {
		return err
	}
	if f.JSON {
		return printJSON(out)
	}
	what := "The key that you knew of " + out.Address + " stays."
	if out.Accepted {
		what = "The key of " + out.Address + " is accepted."
	}
	fmt.Printf("%s %s\n", what, outcome(out))
	return nil
}

// outcome says what became of mail that was held.
func outcome(d proxy.DecidedKey) string {
	var parts []string
	if d.Delivered > 0 {
		parts = append(parts, mails(d.Delivered)+" of theirs that waited: now in the Inbox.")
	}
	if d.Dropped > 0 {
		parts = append(parts, mails(d.Dropped)+" with the other key: dropped.")
	}
	if d.Released > 0 {
		parts = append(parts, mails(d.Released)+" of yours that waited: on the way again, or answered by a report.")
	}
	if len(parts) == 0 {
		return "No mail had to wait for that."
	}
	return strings.Join(parts, " ")
}

type contactForgetCmd struct{ contactOne }

// Run forgets a contact.
func (c *contactForgetCmd) Run(ctx context.Context) error {
	control, err := c.control()
	if err != nil {
		return err
	}
	if err := control.ForgetContact(ctx, c.name()); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(map[string]string{"address": strings.ToLower(c.Address), "state": "forgotten"})
	}
	fmt.Printf("%s is forgotten: the key that is shown next under this address is trusted.\n", strings.ToLower(c.Address))
	return nil
}
