// SPDX-License-Identifier: MIT
// The contracts of the sandbox. Compiled by compile.js; abicoder v1 accepts addresses padded with 41.
pragma solidity ^0.8.20;
pragma abicoder v1;

/// A TRC-20 with what a payments service must survive of mainnet's USDT, under the names that it has there: transfer()
/// moves tokens and returns false; the owner may pause, blacklist a sender, destroy what is blacklisted, and take a fee.
contract UsdtLike {
    string public name;
    string public symbol;
    uint8 public decimals = 6;
    uint256 public totalSupply;
    address public owner;
    bool public paused;
    uint256 public basisPointsRate;
    uint256 public maximumFee;
    bool public deprecated;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => bool) public isBlackListed;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event DestroyedBlackFunds(address indexed _blackListedUser, uint256 _balance);
    event AddedBlackList(address indexed _user);
    event RemovedBlackList(address indexed _user);
    event Params(uint256 feeBasisPoints, uint256 maxFee);
    event Issue(uint256 amount);
    event Pause();
    event Unpause();

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

    modifier whenNotPaused() {
        require(!paused, "paused");
        _;
    }

    function calcFee(uint256 value) public view returns (uint256) {
        uint256 fee = value * basisPointsRate / 10000;
        if (fee > maximumFee) fee = maximumFee;
        return fee;
    }

    function _move(address from, address to, uint256 value) internal {
        require(to != address(0), "zero to");
        require(balanceOf[from] >= value, "insufficient balance");
        uint256 fee = calcFee(value);
        balanceOf[from] = balanceOf[from] - value;
        balanceOf[to] = balanceOf[to] + (value - fee);
        emit Transfer(from, to, value - fee);
        if (fee > 0) {
            balanceOf[owner] += fee;
            emit Transfer(from, owner, fee);
        }
    }

    /// The named result is never set: it stays false on success, like the real one's.
    function transfer(address to, uint256 value) external whenNotPaused returns (bool ok) {
        require(!isBlackListed[msg.sender], "blacklisted");
        require(!deprecated, "deprecated");
        _move(msg.sender, to, value);
    }

    /// A value of zero needs no allowance: that is how addresses are poisoned.
    function transferFrom(address from, address to, uint256 value) external whenNotPaused returns (bool) {
        require(!isBlackListed[from], "blacklisted");
        require(!deprecated, "deprecated");
        uint256 allowed = allowance[from][msg.sender];
        if (value != 0) {
            require(allowed >= value, "allowance");
            allowance[from][msg.sender] = allowed - value;
        }
        _move(from, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external whenNotPaused returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function issue(uint256 amount) external onlyOwner {
        totalSupply += amount;
        balanceOf[owner] += amount;
        emit Transfer(address(0), owner, amount);
        emit Issue(amount);
    }

    function pause() external onlyOwner { paused = true; emit Pause(); }
    function unpause() external onlyOwner { paused = false; emit Unpause(); }
    function getBlackListStatus(address who) external view returns (bool) { return isBlackListed[who]; }
    function addBlackList(address who) external onlyOwner { isBlackListed[who] = true; emit AddedBlackList(who); }
    function removeBlackList(address who) external onlyOwner { isBlackListed[who] = false; emit RemovedBlackList(who); }

    /// What is destroyed emits no Transfer, on mainnet as here.
    function destroyBlackFunds(address who) external onlyOwner {
        require(isBlackListed[who], "not blacklisted");
        uint256 destroyed = balanceOf[who];
        balanceOf[who] = 0;
        totalSupply -= destroyed;
        emit DestroyedBlackFunds(who, destroyed);
    }

    function setParams(uint256 basisPoints, uint256 maximum) external onlyOwner {
        basisPointsRate = basisPoints;
        maximumFee = maximum;
        emit Params(basisPoints, maximum);
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
