"""``python -m clipada``."""

from clipada.cli import main

if __name__ == "__main__":
    main()
