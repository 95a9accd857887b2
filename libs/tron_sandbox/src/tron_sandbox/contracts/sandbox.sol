// SPDX-License-Identifier: MIT
// The contracts of the sandbox. Compiled by compile.js; abicoder v1 accepts addresses padded with 41.
pragma solidity ^0.8.20;
pragma abicoder v1;

/// A TRC-20 with what a payments service must survive of mainnet's USDT: transfer() moves tokens and returns
/// false, the owner may pause, blacklist a sender and take a fee in basis points.
contract UsdtLike {
    string public name;
    string public symbol;
    uint8 public decimals = 6;
    uint256 public totalSupply;
    address public owner;
    bool public paused;
    uint256 public basisPointsRate;
    uint256 public maximumFee;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => bool) public isBlackListed;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor(string memory name_, string memory symbol_, uint256 supply) {
        name = name_;
        symbol = symbol_;
        owner = msg.sender;
        totalSupply = supply;
        balanceOf[msg.sender] = supply;
        emit Transfer(address(0), msg.sender, supply);
    }

    modifier onlyOwner() {
        require(msg.sender == owner, "not owner");
        _;
    }

    function _move(address from, address to, uint256 value) internal {
        require(to != address(0), "zero to");
        uint256 balance = balanceOf[from];
        require(balance >= value, "insufficient balance");
        uint256 fee = basisPointsRate == 0 ? 0 : value * basisPointsRate / 10000;
        if (fee > maximumFee) fee = maximumFee;
        balanceOf[from] = balance - value;
        balanceOf[to] += value - fee;
        emit Transfer(from, to, value - fee);
        if (fee > 0) {
            balanceOf[owner] += fee;
            emit Transfer(from, owner, fee);
        }
    }

    /// The named result is never set: it stays false on success, like the real one's.
    function transfer(address to, uint256 value) external returns (bool ok) {
        require(!paused, "paused");
        require(!isBlackListed[msg.sender], "blacklisted");
        _move(msg.sender, to, value);
    }

    /// A value of zero needs no allowance: that is how addresses are poisoned.
    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        require(!paused, "paused");
        require(!isBlackListed[from], "blacklisted");
        uint256 allowed = allowance[from][msg.sender];
        if (value != 0) {
            require(allowed >= value, "allowance");
            allowance[from][msg.sender] = allowed - value;
        }
        _move(from, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function issue(uint256 value) external onlyOwner {
        totalSupply += value;
        balanceOf[owner] += value;
        emit Transfer(address(0), owner, value);
    }

    function setPaused(bool value) external onlyOwner { paused = value; }
    function setBlackList(address who, bool value) external onlyOwner { isBlackListed[who] = value; }
    function setParams(uint256 basisPoints, uint256 maximum) external onlyOwner {
        basisPointsRate = basisPoints;
        maximumFee = maximum;
    }
}

interface Token {
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// Several transfers in one transaction; the sender approves this contract first.
contract Payout {
    function pay(Token token, address[] memory to, uint256[] memory value) external {
        require(to.length == value.length, "lengths differ");
        for (uint256 i = 0; i < to.length; i++) {
            token.transferFrom(msg.sender, to[i], value[i]);
        }
    }
}

interface Teller {
    function inner(address payable to, uint256 value) external;
}

/// TRX that arrives, or does not, inside a call.
contract TrxPayout {
    /// Pay several, of what was sent along and of what is here; the rest stays.
    function pay(address payable[] memory to, uint256[] memory value) external payable {
        require(to.length == value.length, "lengths differ");
        for (uint256 i = 0; i < to.length; i++) {
            to[i].transfer(value[i]);
        }
    }

    /// Pay in a call that is taken back, and succeed all the same: nobody is paid.
    function payInVain(address payable to, uint256 value) external payable {
        try Teller(address(this)).inner(to, value) {} catch {}
    }

    function inner(address payable to, uint256 value) external {
        to.transfer(value);
        revert("in vain");
    }

    receive() external payable {}
}
